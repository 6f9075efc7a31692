{{/* `kiven agent manifest` prints these templates without Helm: it knows each of their expressions by its text (cli/src/manifest). */}}
{{/* Names are fixed: enrolment accepts the ServiceAccount kiven-agent in kiven-system and no other. */}}
{{- define "kiven.namespace" -}}
{{- if ne .Release.Namespace "kiven-system" -}}
{{- fail "install this chart with --namespace kiven-system: agents of other namespaces cannot enrol" -}}
{{- end -}}
kiven-system
{{- end -}}

{{- define "kiven.labels" -}}
app.kubernetes.io/name: kiven-agent
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "kiven.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "kiven.relayPort" -}}
{{ regexFind "[0-9]+$" .Values.relayAddress }}
{{- end -}}

{{/* The port that apiUrl names, or its scheme's. */}}
{{- define "kiven.apiPort" -}}
{{- if regexMatch ":[0-9]+$" .Values.apiUrl -}}
{{ regexFind "[0-9]+$" .Values.apiUrl }}
{{- else if hasPrefix "https://" .Values.apiUrl -}}
443
{{- else -}}
80
{{- end -}}
{{- end -}}

{{- define "kiven.proxyPort" -}}
{{ regexFind "[0-9]+$" .Values.proxyUrl }}
{{- end -}}

{{- define "kiven.postgresqlImages" -}}
{{- range $major, $image := .Values.postgresql.images }}
- major: {{ $major }}
  image: {{ $image | quote }}
{{- end }}
{{- end -}}

{{/* Names of the Secrets with which images are pulled, separated by commas. */}}
{{- define "kiven.installer.pullSecrets" -}}
{{- $names := list -}}
{{- range .Values.imagePullSecrets }}{{ $names = append $names .name }}{{ end -}}
{{- join "," $names -}}
{{- end -}}

{{/* Pods of the chart's hooks. */}}
{{- define "kiven.installer.pod" -}}
restartPolicy: Never
imagePullSecrets: {{ .Values.imagePullSecrets | toJson }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "kiven.installer.container" -}}
image: {{ include "kiven.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
# What stands in the way is the last line of the log, and so the pod's last word.
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: ["ALL"]
resources:
  requests: { cpu: 50m, memory: 64Mi }
  limits: { memory: 128Mi }
{{- end -}}

{{/* The hook that brings operator and plugin; it and its rights are gone when it has succeeded. */}}
{{- define "kiven.installer.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* The hooks that say which PostgreSQL there is and look at the cluster, after the release is there; likewise. */}}
{{- define "kiven.after.hook" -}}
helm.sh/hook: post-install,post-upgrade
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
