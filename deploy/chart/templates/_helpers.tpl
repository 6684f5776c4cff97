{{/* The name of all objects. The names of pods are this name and a number. */}}
{{- define "workers.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "workers.selector" -}}
app.kubernetes.io/name: webhook-pipeline
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The name in the console's labels. It differs, so that selectors of workers do not match the console. */}}
{{- define "console.selector" -}}
app.kubernetes.io/name: webhook-pipeline-console
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "workers.labels" -}}
{{ include "workers.selector" . }}
{{ include "common.labels" . }}
{{- end }}

{{- define "console.labels" -}}
{{ include "console.selector" . }}
{{ include "common.labels" . }}
{{- end }}

{{- define "common.labels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "workers.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end }}

{{/* The service for pages and API. */}}
{{- define "workers.pages" -}}
{{ include "workers.name" . }}{{ if (.Values.console).enabled }}-console{{ end }}
{{- end }}

{{/* The annotations of pods. They are replaced when the definition changes. */}}
{{- define "workers.annotations" -}}
{{- with .Values.definition.content }}
checksum/definition: {{ toYaml . | sha256sum }}
{{- end }}
{{- with .Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The PromQL selector of this release's series, with the labels that a PodMonitor adds. */}}
{{- define "workers.matchers" -}}
{{ printf `namespace="%s",pod=~"%s-[0-9]+"` .Release.Namespace (include "workers.name" .) }}
{{- end }}

{{/* The PromQL selector of the metric {{ .metric }} of this release. */}}
{{- define "workers.series" -}}
{{ .metric }}{{ printf "{%s}" (.root.Values.autoscaling.prometheus.selector | default (include "workers.matchers" .root)) }}
{{- end }}
