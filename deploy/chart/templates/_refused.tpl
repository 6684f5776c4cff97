{{/* Refuses values that the schema can't refuse, or can refuse only without a reason. Each problem is a line. */}}
{{- define "workers.refuse" -}}
{{- $problems := list -}}

{{- $definition := .Values.definition -}}
{{- $given := list -}}
{{- range list "content" "existingConfigMap" "existingSecret" -}}
{{- if get $definition . }}{{ $given = append $given . }}{{ end -}}
{{- end -}}
{{- if ne (len $given) 1 -}}
{{- $problems = append $problems (printf "definition: set exactly one of content, existingConfigMap, existingSecret; set: %s" (join ", " $given | default "none")) -}}
{{- end -}}

{{- $secret := "use a key of the secret that existingSecret names" -}}
{{- $instead := dict
      "WEBHOOKS_SECRET_KEYS" $secret
      "WEBHOOKS_ADMIN_TOKEN" $secret
      "WEBHOOKS_METRICS_TOKEN" $secret
      "WEBHOOKS_NOTIFY_URL" $secret
      "WEBHOOKS_NOTIFY_SIGNING_SECRET" $secret
      "WEBHOOKS_API" "use definition"
      "WEBHOOKS_INSTANCE_ID" "use staticMembership.enabled"
      "WEBHOOKS_SESSION_SECONDS" "use sessionSeconds"
      "WEBHOOKS_KEY_STORE_DIR" "use keyStores.existingSecret"
      "WEBHOOKS_DATA_DIR" "the chart relies on the image's value"
      "WEBHOOKS_WEB_BIND" "the chart relies on the image's value"
      "WEBHOOKS_WEB_PORT" "use service.port; the pods keep 6066" -}}
{{- range $name, $_ := .Values.settings -}}
{{- with get $instead $name -}}
{{- $problems = append $problems (printf "settings.%s: not allowed here; %s" $name .) -}}
{{- end -}}
{{- end -}}

{{- range .Values.extraEnv -}}
{{- if hasPrefix "WEBHOOKS_" .name -}}
{{- $problems = append $problems (printf "extraEnv: %s is not allowed here; use settings" .name) -}}
{{- end -}}
{{- end -}}

{{- $selector := include "workers.selector" . | fromYaml -}}
{{- range $name, $_ := .Values.podLabels -}}
{{- if hasKey $selector $name -}}
{{- $problems = append $problems (printf "podLabels.%s: not allowed; the chart selects pods by it" $name) -}}
{{- end -}}
{{- end -}}

{{- if not (or .Values.existingSecret .Values.settings.WEBHOOKS_CONFIG) -}}
{{- $problems = append $problems "existingSecret: it is empty; name a secret, or a file with the secrets in settings.WEBHOOKS_CONFIG" -}}
{{- end -}}
{{- if and .Values.podMonitor.enabled (not (or .Values.existingSecret .Values.podMonitor.tokenSecret)) -}}
{{- $problems = append $problems "podMonitor.tokenSecret: it is empty, and so is existingSecret; name the secret with the token" -}}
{{- end -}}
{{- if and (.Values.ingress).enabled (not .Values.ingress.host) -}}
{{- $problems = append $problems "ingress.host: it is empty; name the host of pages and API" -}}
{{- end -}}

{{- with .Values.autoscaling -}}
{{- if lt (int .maxReplicas) (int .minReplicas) -}}
{{- $problems = append $problems (printf "autoscaling.maxReplicas: %d is below minReplicas (%d)" (int .maxReplicas) (int .minReplicas)) -}}
{{- end -}}
{{- end -}}

{{- if $problems }}{{ fail (printf "\n%s" (join "\n" $problems)) }}{{ end -}}
{{- end }}
