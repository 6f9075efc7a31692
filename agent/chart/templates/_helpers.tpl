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

{{- define "kiven.proxyPort" -}}
{{ regexFind "[0-9]+$" .Values.proxyUrl }}
{{- end -}}

{{- define "kiven.postgresqlImages" -}}
{{- range $major, $image := .Values.postgresql.images }}
- major: {{ $major }}
  image: {{ $image | quote }}
{{- end }}
{{- end -}}
