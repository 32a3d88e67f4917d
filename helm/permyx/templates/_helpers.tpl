{{- define "permyx.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- /* Room for `-policies`, the longest end of a name. */ -}}
{{- .Values.fullnameOverride | default $both | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* What selects the pods of a part: `component` is gateway, metrics or test. */}}
{{- define "permyx.selector" -}}
app.kubernetes.io/name: {{ .root.Values.nameOverride | default .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "permyx.labels" -}}
{{ include "permyx.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* `metadata` of an object: its `root`, `component` and what is added to the full name as `part`. */}}
{{- define "permyx.metadata" -}}
name: {{ include "permyx.fullname" .root }}{{ with .part }}-{{ . }}{{ end }}
namespace: {{ .namespace | default .root.Release.Namespace }}
labels:
  {{- include "permyx.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Makes of `root` the dict that the library takes: see its _config.tpl. */}}
{{- define "permyx.gateway" -}}
{{- $_ := set . "values" .root.Values -}}
{{- $_ := set . "name" (include "permyx.fullname" .root) -}}
{{- $_ := set . "labels" (include "permyx.labels" (dict "root" .root "component" "gateway")) -}}
{{- $_ := set . "sidecar" false -}}
{{- $_ := set . "at" "" -}}
{{- end -}}

{{/* Why the next pod cannot begin before this one ended; nothing where it can. */}}
{{- define "permyx.alone" -}}
{{- if not (dig "ledger" "redis" nil .Values.config) -}}
the memory ledger burns in one gateway alone; for more set config.ledger.redis
{{- else if .Values.data.persistence.enabled -}}
a claim serves one gateway alone; for more set data.persistence.enabled to false
{{- end -}}
{{- end -}}

{{- define "permyx.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "permyx.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* What the pods of the gateway and of `helm test` have in common. */}}
{{- define "permyx.pod" -}}
serviceAccountName: {{ include "permyx.serviceAccount" . }}
automountServiceAccountToken: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An endpoint of a monitor. */}}
{{- define "permyx.scrape" -}}
path: /metrics
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A pod of `helm test`. */}}
{{- define "permyx.testMetadata" -}}
{{- $hook := dict "helm.sh/hook" "test" "helm.sh/hook-delete-policy" "before-hook-creation" -}}
{{- include "permyx.metadata" (dict "root" .root "component" "test" "part" .part "annotations" $hook) -}}
{{- end -}}

{{- define "permyx.testContainer" -}}
name: {{ .name }}
image: {{ include "permyx-lib.image" .p | quote }}
imagePullPolicy: {{ .p.values.image.pullPolicy }}
args: {{ toJson .args }}
{{- with .p.values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .p.values.resources | nindent 2 }}
securityContext:
  {{- toYaml .p.values.securityContext | nindent 2 }}
{{- end -}}
