{{/* The name of all objects, which is also that of the pods without their number. */}}
{{- define "workers.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "workers.selector" -}}
app.kubernetes.io/name: webhook-pipeline
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "workers.labels" -}}
{{ include "workers.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "workers.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end }}

{{/* Prometheus: the metric {{ .metric }} of this release. */}}
{{- define "workers.series" -}}
{{- $pods := printf `namespace="%s",pod=~"%s-[0-9]+"` .root.Release.Namespace (include "workers.name" .root) -}}
{{ .metric }}{{ printf "{%s}" (.root.Values.autoscaling.prometheus.selector | default $pods) }}
{{- end }}
