{{/* What is wrong with the values of either form, one a line. */}}
{{- define "permyx-lib.refusals" -}}
{{- $config := .values.config -}}
{{- $at := .at -}}
{{- with .values.image -}}
{{-   if not .repository }}{{ $at }}image.repository: where your build of the Dockerfile lies, for example registry.example/permyx{{ "\n" }}{{ end -}}
{{-   if not (or .tag .digest) }}{{ $at }}image.tag, or image.digest: which build{{ "\n" }}{{ end -}}
{{- end -}}
{{- if not (dig "gateway" "routes" nil $config) }}{{ $at }}config.gateway.routes: what is guarded, at least one route{{ "\n" }}{{ end -}}
{{- $keys := $config.keys | default dict -}}
{{- if not (or $keys.jwks_url $keys.jwks_file .values.existingSecrets.jwks.name) }}{{ $at }}config.keys.jwks_url, or existingSecrets.jwks: whose tokens are taken{{ "\n" }}{{ end -}}
{{- if not (dig "ledger" "redis" nil $config) -}}
{{-   if .sidecar }}{{ $at }}config.ledger.redis: each pod of the sidecar form has a gateway, so they must share a ledger; memory holds it for one{{ "\n" }}
{{-   else if not (dig "ledger" "single_instance" nil $config) }}{{ $at }}config.ledger: `redis` for several gateways, or `single_instance: true` for this one alone{{ "\n" }}
{{-   end -}}
{{- end -}}
{{- $ship := dig "evidence" "ship" nil $config -}}
{{- if and $ship (not (or $ship.key_file .values.existingSecrets.shipKey.name)) }}{{ $at }}existingSecrets.shipKey, or config.evidence.ship.key_file: the key that events are delivered with{{ "\n" }}{{ end -}}
{{- $own := dict
      "data" "it is /var/lib/permyx"
      "gateway.listen" "set `listen`"
      "ops.listen" "set `listen`" -}}
{{- range $path, $instead := $own -}}
{{-   if include "permyx-lib.get" (dict "in" $config "path" $path) }}{{ $at }}config.{{ $path }}: the chart sets it; {{ $instead }}{{ "\n" }}{{ end -}}
{{- end -}}
{{- range include "permyx-lib.secretFiles" . | fromYamlArray -}}
{{-   if and (get $.values.existingSecrets .secret).name (include "permyx-lib.get" (dict "in" $config "path" .to)) }}{{ $at }}config.{{ .to }}: `existingSecrets.{{ .secret }}` says it; take one away{{ "\n" }}{{ end -}}
{{- end -}}
{{- range $directory, $path := include "permyx-lib.directories" . | fromYaml -}}
{{-   with get $.values $directory -}}
{{-     if and .files .existingConfigMap }}{{ $at }}{{ $directory }}: `files` or `existingConfigMap`, not both{{ "\n" }}{{ end -}}
{{-     if and (or .files .existingConfigMap) (include "permyx-lib.get" (dict "in" $config "path" $path)) }}{{ $at }}config.{{ $path }}: `{{ $directory }}` says it; take one away{{ "\n" }}{{ end -}}
{{-   end -}}
{{- end -}}
{{- $admin := dig "admin" "listen" "" $config -}}
{{- if and $admin (not (regexMatch "^(127(\\.[0-9]+){3}|\\[::1\\]):" $admin)) }}{{ $at }}config.admin.listen: {{ $admin }} can be reached from outside the pod; keep it on 127.0.0.1{{ "\n" }}{{ end -}}
{{- with .values.networkPolicy.protect }}{{ if and .enabled (not .podSelector) }}{{ $at }}networkPolicy.protect.podSelector: the labels of the pods that are protected{{ "\n" }}{{ end }}{{ end -}}
{{- end -}}

{{/* Stops with all of them at once. */}}
{{- define "permyx-lib.refuse" -}}
{{- with trim . }}{{ fail (printf "\n\nThese values need a change:\n- %s\n" (splitList "\n" . | join "\n- ")) }}{{ end -}}
{{- end -}}
