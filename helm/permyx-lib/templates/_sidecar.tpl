{{/*
For a chart that depends on this one with `alias: permyx`:

  annotations of the pod:   {{ include "permyx.sidecar.annotations" . }}
  initContainers:           {{ include "permyx.sidecar" . }}              before all others
  volumes:                  {{ include "permyx.sidecar.volumes" . }}
  a file of its own:        {{ include "permyx.sidecar.objects" . }}
*/}}
{{- define "permyx.sidecar" -}}
{{- $p := dict "root" . }}{{ include "permyx-lib.asSidecar" $p -}}
- {{ include "permyx-lib.container" $p | nindent 2 | trim }}
{{- end -}}

{{- define "permyx.sidecar.volumes" -}}
{{- $p := dict "root" . }}{{ include "permyx-lib.asSidecar" $p -}}
{{ include "permyx-lib.volumes" $p }}
{{ include "permyx-lib.emptyDir" $p }}
{{- end -}}

{{- define "permyx.sidecar.annotations" -}}
{{- $p := dict "root" . }}{{ include "permyx-lib.asSidecar" $p -}}
{{ include "permyx-lib.annotations" $p }}
{{- end -}}

{{- define "permyx.sidecar.objects" -}}
{{- $p := dict "root" . }}{{ include "permyx-lib.asSidecar" $p -}}
{{ include "permyx-lib.configmaps" $p }}
{{- with .Values.permyx.networkPolicy.protect }}
{{- if .enabled }}
---
# By number: not every network looks for named ports among init containers.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ $p.name }}-protect
  namespace: {{ $p.root.Release.Namespace }}
  labels:
    {{- $p.labels | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- toYaml .podSelector | nindent 6 }}
  policyTypes: [Ingress]
  ingress:
    - ports:
        - {port: {{ $p.values.listen.gateway }}}
        - {port: {{ $p.values.listen.metrics }}}
    {{- with .extraIngress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "permyx-lib.asSidecar" -}}
{{- if not .root.Values.permyx }}{{ fail "permyx-lib: name the dependency with `alias: permyx`" }}{{ end -}}
{{- $labels := dict
      "app.kubernetes.io/name" "permyx"
      "app.kubernetes.io/instance" .root.Release.Name
      "app.kubernetes.io/component" "sidecar"
      "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set . "values" .root.Values.permyx -}}
{{- $_ := set . "name" (printf "%s-permyx" .root.Release.Name | trunc 52 | trimSuffix "-") -}}
{{- $_ := set . "labels" (toYaml $labels) -}}
{{- $_ := set . "sidecar" true -}}
{{- $_ := set . "at" "permyx." -}}
{{- include "permyx-lib.refuse" (include "permyx-lib.refusals" .) -}}
{{- end -}}
