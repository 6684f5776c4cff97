{{/*
The pods' specification: .root, .command (worker, console or check), .resources, and .selector, the labels that they are spread by.
Only workers belong to the consumer group. A pod with the command check ends by itself, so it has no probes. The rest is the same.
*/}}
{{- define "workers.pod" -}}
{{- $root := .root }}
{{- $isWorker := eq .command "worker" }}
{{- $isTest := eq .command "check" }}
{{- with .root -}}
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
serviceAccountName: {{ .Values.serviceAccountName }}
automountServiceAccountToken: false
# Otherwise Kubernetes would set variables with the names of services, which look like settings.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with .Values.runAsUser }}
  runAsUser: {{ int64 . }}
  runAsGroup: {{ int64 . }}
  fsGroup: {{ int64 . }}
  {{- end }}
  seccompProfile: { type: RuntimeDefault }
containers:
  - name: {{ $.command }}
    image: {{ include "workers.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    {{- if not $isWorker }}
    args: [{{ $.command }}]
    {{- end }}
    env:
      - { name: WEBHOOKS_API, value: /etc/webhooks/definition.yaml }
      {{- if $isWorker }}
      {{- if .Values.staticMembership.enabled }}
      - name: WEBHOOKS_INSTANCE_ID
        valueFrom: { fieldRef: { fieldPath: metadata.name } }
      {{- end }}
      - { name: WEBHOOKS_SESSION_SECONDS, value: {{ .Values.sessionSeconds | quote }} }
      {{- end }}
      {{- if .Values.keyStores.existingSecret }}
      - { name: WEBHOOKS_KEY_STORE_DIR, value: /etc/webhooks-key-stores }
      {{- end }}
      {{- range $setting, $value := .Values.settings }}
      - { name: {{ $setting }}, value: {{ $value | quote }} }
      {{- end }}
      {{- with .Values.extraEnv }}{{ toYaml . | nindent 6 }}{{ end }}
    {{- with .Values.existingSecret }}
    envFrom:
      - secretRef: { name: {{ . }} }
    {{- end }}
    {{- if not $isTest }}
    ports:
      - { name: web, containerPort: 6066 }
    # A new worker is ready only when it has its partitions and has read their cursor rows.
    startupProbe:
      httpGet: { path: /health/live, port: web }
      periodSeconds: 2
      failureThreshold: 60
    livenessProbe:
      httpGet: { path: /health/live, port: web }
      timeoutSeconds: 3
    readinessProbe:
      httpGet: { path: /health/ready, port: web }
      timeoutSeconds: 3
    {{- end }}
    resources: {{- toYaml $.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: { drop: [ALL] }
    volumeMounts:
      - { name: definition, mountPath: /etc/webhooks, readOnly: true }
      - { name: data, mountPath: /var/lib/webhooks }
      - { name: scratch, mountPath: /tmp }
      {{- if .Values.keyStores.existingSecret }}
      - { name: key-stores, mountPath: /etc/webhooks-key-stores, readOnly: true }
      {{- end }}
      {{- with .Values.extraVolumeMounts }}{{ toYaml . | nindent 6 }}{{ end }}
  {{- if $isTest }}
  # A worker answers through the service.
  - name: service
    image: {{ include "workers.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [python, -c, "import urllib.request as web; print(web.urlopen('http://{{ include "workers.name" . }}:{{ .Values.service.port }}/health/ready', timeout=10).read().decode())"]
    resources: {{- toYaml $.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: { drop: [ALL] }
  {{- end }}
volumes:
  - name: definition
    {{- if .Values.definition.existingSecret }}
    secret: { secretName: {{ .Values.definition.existingSecret }} }
    {{- else }}
    configMap: { name: {{ .Values.definition.existingConfigMap | default (printf "%s-definition" (include "workers.name" .)) }} }
    {{- end }}
  # Local state, whose loss does no harm.
  - { name: data, emptyDir: {} }
  - { name: scratch, emptyDir: {} }
  {{- with .Values.keyStores.existingSecret }}
  - name: key-stores
    secret: { secretName: {{ . }} }
  {{- end }}
  {{- with .Values.extraVolumes }}{{ toYaml . | nindent 2 }}{{ end }}
{{- if and .Values.topologySpread.enabled (not $isTest) }}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $root.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels: {{- include $.selector $root | nindent 8 }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
