{{- /* The transfers of the config as the environment changes them, and what is refused. */ -}}

{{- define "sid.configLocation" -}}
{{- .Values.config.location | default "/etc/tmg_etl/config.yaml" -}}
{{- end -}}

{{- /* root → YAML of what runs by its name: each transfer, and each publish group instead of its
       members. The environment is merged in, and this chart's values are laid over it. */ -}}
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
{{- $result := dict -}}
{{- $members := dict -}}
{{- range $name, $declared := $config.transfers | default dict -}}
{{- $mode := ternary "delta" "truncate" (not (empty $declared.delta)) -}}
{{- $schedule := $declared.schedule | default "" -}}
{{- if $declared.publish_group -}}
{{- $group := $declared.publish_group -}}
{{- if hasKey $config.transfers $group -}}
{{- fail (printf "transfers.%s: the publish group %s has the name of a transfer: rename one" $name $group) -}}
{{- end -}}
{{- $so_far := get $result $group | default (dict "writeMode" "truncate" "schedule" "" "members" list) -}}
{{- if and $schedule $so_far.schedule (ne $schedule $so_far.schedule) -}}
{{- fail (printf "transfers.%s.schedule: the publish group %s runs at %q and at %q: leave one, for all its members" $name $group $so_far.schedule $schedule) -}}
{{- end -}}
{{- $_ := set $members $name $group -}}
{{- $_ := set $result $group (dict "writeMode" (ternary "delta" $so_far.writeMode (eq $mode "delta")) "schedule" ($so_far.schedule | default $schedule) "members" (append $so_far.members $name)) -}}
{{- else -}}
{{- $_ := set $result $name (dict "writeMode" $mode "schedule" $schedule) -}}
{{- end -}}
{{- end -}}
{{- range $name, $own := .Values.transfers -}}
{{- if hasKey $members $name -}}
{{- fail (printf "transfers.%s: it runs as a member of the publish group %s only: write it as transfers.%s" $name (get $members $name) (get $members $name)) -}}
{{- end -}}
{{- if and $.Values.config.content (not (hasKey $result $name)) -}}
{{- fail (printf "transfers.%s: the config has no such transfer, it has: %s" $name (keys $result | sortAlpha | join ", ")) -}}
{{- end -}}
{{- $_ := set $result $name (mergeOverwrite (get $result $name | default (dict "writeMode" "truncate" "schedule" "")) (deepCopy $own)) -}}
{{- end -}}
{{- if and .Values.run.transfer (hasKey $members .Values.run.transfer) -}}
{{- $group := get $members .Values.run.transfer -}}
{{- fail (printf "run.transfer: %s runs as a member of the publish group %s only: run %s" .Values.run.transfer $group $group) -}}
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
{{- $scheduled := 0 -}}
{{- range $transfer, $settings := $transfers -}}
{{- if $settings.schedule -}}
{{- $scheduled = add1 $scheduled -}}
{{- if not (regexMatch "^\\S+( \\S+){4}$" $settings.schedule) -}}
{{- fail (printf "the schedule of %s is %q, expected five fields" $transfer $settings.schedule) -}}
{{- end -}}
{{- end -}}
{{- if or $settings.schedule (hasKey $values.transfers $transfer) -}}
{{- $name := include "sid.cronName" (dict "release" $.Release.Name "suffix" $transfer) -}}
{{- if hasKey $names $name -}}
{{- fail (printf "the CronJobs of %s and %s would have one name, %s: rename a transfer" $transfer (get $names $name) $name) -}}
{{- end -}}
{{- $_ := set $names $name $transfer -}}
{{- end -}}
{{- end -}}
{{- if not (or $scheduled $values.cron.suspend) -}}
{{- fail (printf "no transfer has a schedule, so the environment %s would never run: write `schedule` into the config, or cron.suspend: true where runs are started by hand" $values.config.env) -}}
{{- end -}}
{{- end -}}
