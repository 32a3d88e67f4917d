{{- define "permyx-lib.image" -}}
{{- with .values.image -}}
{{ if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end }}
{{- end -}}
{{- end -}}

{{/* The gateway, as a container of its own or as a native sidecar. */}}
{{- define "permyx-lib.container" -}}
name: permyx
image: {{ include "permyx-lib.image" . | quote }}
imagePullPolicy: {{ .values.image.pullPolicy }}
{{- if .sidecar }}
restartPolicy: Always
{{- end }}
args: [gateway, --config, /etc/permyx/conf/permyx.toml]
{{- with .values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - {name: pmx-http, containerPort: {{ .values.listen.gateway }}}
  - {name: pmx-metrics, containerPort: {{ .values.listen.metrics }}}
startupProbe:
  httpGet: {path: /startupz, port: pmx-metrics}
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: pmx-metrics}
  periodSeconds: 2
livenessProbe:
  httpGet: {path: /livez, port: pmx-metrics}
  periodSeconds: 10
resources:
  {{- toYaml .values.resources | nindent 2 }}
securityContext:
  {{- toYaml .values.securityContext | nindent 2 }}
volumeMounts:
  {{- include "permyx-lib.mounts" . | nindent 2 }}
  - {name: permyx-data, mountPath: /var/lib/permyx}
{{- end -}}

{{/* Where what the gateway reads is mounted: whole directories, so that a change arrives. */}}
{{- define "permyx-lib.mounts" -}}
- {name: permyx-conf, mountPath: /etc/permyx/conf, readOnly: true}
{{- range $directory := include "permyx-lib.directories" . | fromYaml | keys | sortAlpha }}
{{- with get $.values $directory }}
{{- if or .files .existingConfigMap }}
- {name: permyx-{{ $directory }}, mountPath: /etc/permyx/{{ $directory }}, readOnly: true}
{{- end }}
{{- end }}
{{- end }}
{{- range $secret, $from := .values.existingSecrets }}
{{- if $from.name }}
- {name: permyx-{{ kebabcase $secret }}, mountPath: /etc/permyx/secrets/{{ kebabcase $secret }}, readOnly: true}
{{- end }}
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The volumes of the mounts. */}}
{{- define "permyx-lib.volumes" -}}
- name: permyx-conf
  configMap: {name: {{ .name }}-conf}
{{- range $directory := include "permyx-lib.directories" . | fromYaml | keys | sortAlpha }}
{{- with get $.values $directory }}
{{- if or .files .existingConfigMap }}
- name: permyx-{{ $directory }}
  configMap: {name: {{ .existingConfigMap | default (printf "%s-%s" $.name $directory) }}}
{{- end }}
{{- end }}
{{- end }}
{{- range $secret, $from := .values.existingSecrets }}
{{- if $from.name }}
- name: permyx-{{ kebabcase $secret }}
  secret: {secretName: {{ $from.name }}}
{{- end }}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The volume of the data directory where it is no claim. A full spool must fit: who exceeds the limit is evicted. */}}
{{- define "permyx-lib.emptyDir" -}}
{{- $spool := dig "evidence" "spool_limit" nil .values.config | default 4294967296 -}}
- name: permyx-data
  emptyDir: {sizeLimit: {{ .values.data.sizeLimit | default (div (mul (int64 $spool) 5) 4) | quote }}}
{{- end -}}
