{{- /* The transfers of the config as the environment changes them, and what is refused. */ -}}

{{- define "sid.configLocation" -}}
{{- .Values.config.location | default "/etc/tmg_etl/config.yaml" -}}
{{- end -}}

{{- /* root → YAML of `transfers` with the environment merged in and this chart's values over it. */ -}}
{{- define "sid.transfers" -}}
{{- $config := dict -}}
{{- if .Values.config.content -}}
{{- $config = fromYaml .Values.config.content -}}
{{- if hasKey $config "Error" -}}
{{- fail (printf "config.content is not YAML: %s" (get $config "Error")) -}}
{{- end -}}
{{- $env := .Values.config.env -}}
{{- $environments := $config.environments | default dict -}}
{{- if and (ne $env "local") (not (hasKey $environments $env)) -}}
{{- fail (printf "config.env is %q, and the config has the environments: %s" $env (keys $environments | sortAlpha | join ", ")) -}}
{{- end -}}
{{- $over := get $environments $env | default dict -}}
{{- $config = mergeOverwrite (dict "transfers" (deepCopy ($config.transfers | default dict))) (dict "transfers" (deepCopy ($over.transfers | default dict))) -}}
{{- end -}}
{{- $known := $config.transfers | default dict -}}
{{- $result := dict -}}
{{- range $name, $declared := $known -}}
{{- $mode := ternary "delta" "truncate" (not (empty $declared.delta)) -}}
{{- $_ := set $result $name (dict "writeMode" $mode "schedule" ($declared.schedule | default "")) -}}
{{- end -}}
{{- range $name, $own := .Values.transfers -}}
{{- if and $.Values.config.content (not (hasKey $known $name)) -}}
{{- fail (printf "transfers.%s: the config has no such transfer, it has: %s" $name (keys $known | sortAlpha | join ", ")) -}}
{{- end -}}
{{- $_ := set $result $name (mergeOverwrite (get $result $name | default (dict "writeMode" "truncate" "schedule" "")) (deepCopy $own)) -}}
{{- end -}}
{{- toYaml $result -}}
{{- end -}}

{{- /* root → nothing, or the first thing that is wrong, in one line. */ -}}
{{- define "sid.check" -}}
{{- $values := .Values -}}
{{- if not (or $values.config.content $values.config.location) -}}
{{- fail "config.content is empty: pass --set-file config.content=FILE, or config.location" -}}
{{- end -}}
{{- if and (not $values.config.location) (gt (len $values.config.content) 1000000) -}}
{{- fail "config.content is larger than a ConfigMap (1 MB): put it in a bucket and give config.location" -}}
{{- end -}}
{{- if and $values.sqlProxy.enabled (not $values.sqlProxy.instance) -}}
{{- fail "sqlProxy.enabled needs sqlProxy.instance, as project:region:instance" -}}
{{- end -}}
{{- if and $values.secrets.googleCredentials (not $values.secrets.existing) -}}
{{- fail "secrets.googleCredentials names a key of secrets.existing, which is empty" -}}
{{- end -}}
{{- if and $values.secrets.existing $values.secrets.secretManager -}}
{{- fail "secrets.existing and secrets.secretManager would be mounted at one place: leave one out" -}}
{{- end -}}
{{- $transfers := fromYaml (include "sid.transfers" .) -}}
{{- if $values.run.transfer -}}
{{- if not (regexMatch "^[0-9]{8}$" $values.run.executionDate) -}}
{{- fail (printf "run.executionDate is %q, expected YYYYMMDD" $values.run.executionDate) -}}
{{- end -}}
{{- if and $values.config.content (not (hasKey $transfers $values.run.transfer)) -}}
{{- fail (printf "run.transfer: the config has no transfer %q, it has: %s" $values.run.transfer (keys $transfers | sortAlpha | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- $names := dict (include "sid.cronName" (dict "release" .Release.Name "suffix" "run")) "the template of runs" (include "sid.cronName" (dict "release" .Release.Name "suffix" "backfill")) "the template of back-fills" -}}
{{- range $transfer, $settings := $transfers -}}
{{- if $settings.schedule -}}
{{- if not (regexMatch "^\\S+( \\S+){4}$" $settings.schedule) -}}
{{- fail (printf "the schedule of %s is %q, expected five fields" $transfer $settings.schedule) -}}
{{- end -}}
{{- $name := include "sid.cronName" (dict "release" $.Release.Name "suffix" $transfer) -}}
{{- if hasKey $names $name -}}
{{- fail (printf "the CronJobs of %s and %s would have one name, %s: rename a transfer" $transfer (get $names $name) $name) -}}
{{- end -}}
{{- $_ := set $names $name $transfer -}}
{{- end -}}
{{- end -}}
{{- end -}}
