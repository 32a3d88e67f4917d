{{/*
The templates of this file and the next take one dict, `p`:
  root     the context of the chart that renders
  values   the values of the gateway
  name     what its objects are called
  labels   what they are labelled with, as YAML
  sidecar  whether it stands in the merchant's pod
  at       where `values` begin for who writes them: "" or "permyx."
*/}}

{{/* Which secret goes where in the configuration: `key` names the member of the value that names the file. */}}
{{- define "permyx-lib.secretFiles" -}}
- {secret: redisPassword, key: key, to: ledger.redis.password_file}
- {secret: sentinelPassword, key: key, to: ledger.redis.sentinel_password_file}
- {secret: redisCa, key: key, to: ledger.redis.ca_file}
- {secret: shipKey, key: key, to: evidence.ship.key_file}
- {secret: jwks, key: key, to: keys.jwks_file}
- {secret: tls, key: certificate, to: gateway.tls.certificate}
- {secret: tls, key: key, to: gateway.tls.key}
{{- end -}}

{{/* Directories of files, and where the configuration names them. */}}
{{- define "permyx-lib.directories" -}}
policies: policies.dir
catalog: catalog.dir
presets: gateway.presets
{{- end -}}

{{/* permyx.toml. */}}
{{- define "permyx-lib.config" -}}
{{- $config := deepCopy .values.config -}}
{{- $listen := .values.listen -}}
{{- $own := dict
      "data" "/var/lib/permyx"
      "gateway.listen" (printf "%s:%d" $listen.address (int $listen.gateway))
      "ops.listen" (printf "%s:%d" $listen.address (int $listen.metrics)) -}}
{{- range $directory, $path := include "permyx-lib.directories" . | fromYaml -}}
{{-   $files := get $.values $directory -}}
{{-   if or $files.files $files.existingConfigMap }}{{ $_ := set $own $path (printf "/etc/permyx/%s" $directory) }}{{ end -}}
{{- end -}}
{{- range include "permyx-lib.secretFiles" . | fromYamlArray -}}
{{-   $secret := get $.values.existingSecrets .secret -}}
{{-   if $secret.name }}{{ $_ := set $own .to (printf "/etc/permyx/secrets/%s/%s" (kebabcase .secret) (get $secret .key)) }}{{ end -}}
{{- end -}}
{{- if not (dig "gateway" "name" nil $config) }}{{ $_ := set $own "gateway.name" .name }}{{ end -}}
{{- /* The sidecar is stopped after the merchant's containers: nobody is left to wait for. */ -}}
{{- if and .sidecar (kindIs "invalid" (dig "shutdown" "delay_s" nil $config)) }}{{ $_ := set $own "shutdown.delay_s" 0 }}{{ end -}}
{{- range $path, $value := $own }}{{ include "permyx-lib.put" (dict "in" $config "path" $path "value" $value) }}{{ end -}}
{{- $box := dict "v" $config -}}
{{- include "permyx-lib.integers" $box -}}
{{- toToml $box.v -}}
{{- end -}}

{{/* Writes `value` at `path` into the dict `in`. */}}
{{- define "permyx-lib.put" -}}
{{- $at := .in -}}
{{- $keys := splitList "." .path -}}
{{- range $key := initial $keys -}}
{{-   if not (get $at $key) }}{{ $_ := set $at $key dict }}{{ end -}}
{{-   $at = get $at $key -}}
{{- end -}}
{{- $_ := set $at (last $keys) .value -}}
{{- end -}}

{{/* What stands at `path` in the dict `in`, as JSON; nothing where nothing does. */}}
{{- define "permyx-lib.get" -}}
{{- $at := .in -}}
{{- range $key := splitList "." .path -}}
{{-   $at = ternary (get ($at | default dict) $key) "" (kindIs "map" $at) -}}
{{- end -}}
{{- if $at }}{{ toJson $at }}{{ end -}}
{{- end -}}

{{/* Helm reads each number as a fraction, which TOML then writes with a point. Makes those of `v` whole that are. */}}
{{- define "permyx-lib.integers" -}}
{{- if kindIs "map" .v -}}
{{-   range $key, $value := .v }}{{ $box := dict "v" $value }}{{ include "permyx-lib.integers" $box }}{{ $_ := set $.v $key $box.v }}{{ end -}}
{{- else if kindIs "slice" .v -}}
{{-   $whole := list -}}
{{-   range .v }}{{ $box := dict "v" . }}{{ include "permyx-lib.integers" $box }}{{ $whole = append $whole $box.v }}{{ end -}}
{{-   $_ := set . "v" $whole -}}
{{- else if or (kindIs "float64" .v) (typeIs "json.Number" .v) -}}
{{-   if eq (floor .v) (float64 .v) }}{{ $_ := set . "v" (int64 .v) }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* The ConfigMaps. */}}
{{- define "permyx-lib.configmaps" -}}
{{- include "permyx-lib.configmap" (dict "p" . "part" "conf" "files" (dict "permyx.toml" (include "permyx-lib.config" .))) }}
{{- range $directory := include "permyx-lib.directories" . | fromYaml | keys | sortAlpha }}
{{- with (get $.values $directory).files }}
{{ include "permyx-lib.configmap" (dict "p" $ "part" $directory "files" .) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "permyx-lib.configmap" -}}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .p.name }}-{{ .part }}
  namespace: {{ .p.root.Release.Namespace }}
  labels:
    {{- .p.labels | nindent 4 }}
data:
{{- range $file, $text := .files }}
  {{ $file }}: |
    {{- trim $text | nindent 4 }}
{{- end }}
{{- end -}}

{{/* Changes where a restart is needed: policies and catalogs are followed without one. */}}
{{- define "permyx-lib.annotations" -}}
checksum/config: {{ list (include "permyx-lib.config" .) .values.presets.files | toJson | sha256sum }}
{{- end -}}
