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
{{- fail (printf "config.env is %q, and the config has the environments: %s" $env (keys $environments | sortAlpha | join ", " | default "none but local")) -}}
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
{{- range $name, $settings := $result -}}
{{- if hasPrefix "H " $settings.schedule -}}
{{- $minute := mod (printf "%s/%s" $.Release.Name $name | adler32sum | int64) 60 -}}
{{- $_ := set $settings "schedule" (printf "%d %s" $minute (trimPrefix "H " $settings.schedule)) -}}
{{- end -}}
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
{{- include "sid.checkZone" (dict "key" "cron.timeZone" "zone" $values.cron.timeZone) -}}
{{- include "sid.checkSecrets" . -}}
{{- $transfers := fromYaml (include "sid.transfers" .) -}}
{{- if $values.run.transfer -}}
{{- $day := $values.run.executionDate -}}
{{- if ne $day (toDate "20060102" $day | date "20060102") -}}
{{- fail (printf "run.executionDate is %q, expected YYYYMMDD, a day that there is" $day) -}}
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
{{- include "sid.checkSchedule" (dict "transfer" $transfer "schedule" $settings.schedule) -}}
{{- include "sid.checkZone" (dict "key" (printf "transfers.%s.timeZone" $transfer) "zone" ($settings.timeZone | default "UTC")) -}}
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

{{- /* dict: transfer, schedule → nothing; by the rules of a CronJob, as tmg_etl/config/cron.py has them. */ -}}
{{- define "sid.checkSchedule" -}}
{{- $parts := splitList " " .schedule -}}
{{- if ne (len $parts) 5 -}}
{{- fail (printf "the schedule of %s is %q, expected five fields" .transfer .schedule) -}}
{{- end -}}
{{- $names := list "minute" "hour" "day of the month" "month" "day of the week" -}}
{{- $numbers := list "[0-5]?[0-9]" "([01]?[0-9]|2[0-3])" "(0?[1-9]|[12][0-9]|3[01])" "(0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)" "(0?[0-6]|sun|mon|tue|wed|thu|fri|sat)" -}}
{{- range $place, $part := $parts -}}
{{- $number := index $numbers $place -}}
{{- $item := printf "(\\*|%s(-%s)?)(/[1-9][0-9]?)?" $number $number -}}
{{- if not (regexMatch (printf "^(?i)%s(,%s)*$" $item $item) $part) -}}
{{- fail (printf "the schedule of %s is %q, which has no %s %q" $.transfer $.schedule (index $names $place) $part) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* dict: key, zone → nothing. Helm takes an unknown zone for UTC, and says so by its abbreviation;
       where it has no zones at all, Tokyo is UTC too, and nothing is checked. */ -}}
{{- define "sid.checkZone" -}}
{{- $utc := list "UTC" "UCT" "Zulu" "Universal" "Etc/UTC" "Etc/UCT" "Etc/Zulu" "Etc/Universal" -}}
{{- $isUnknown := and (eq (dateInZone "MST" now .zone) "UTC") (ne (dateInZone "MST" now "Asia/Tokyo") "UTC") -}}
{{- if or (eq .zone "Local") (and $isUnknown (not (has .zone $utc))) -}}
{{- fail (printf "%s is %q, which is no time zone: write it as Europe/Berlin" .key .zone) -}}
{{- end -}}
{{- end -}}

{{- /* root → nothing, where no password stands in the config or in a variable: who may look at the
       release would read it. Names of files may be called like secrets. */ -}}
{{- define "sid.checkSecrets" -}}
{{- $password := "://(\\$\\{[^}]*\\}|[^\\s/?#:@])*:(([^\\s/?#@$]|\\$[^{])[^\\s/?#@]*|\\$\\{\\w+:-[^}]+\\})@" -}}
{{- $secret := "(?i)(password|passwd|secret|token|api_?key|private_?key)" -}}
{{- $file := "(?i)(file|path|dir|name)$" -}}
{{- $advice := "anybody who may read the release would see it: put it into secrets and write ${secret:NAME} into the config" -}}
{{- $variables := dict "env" .Values.env -}}
{{- range $name, $own := .Values.transfers -}}
{{- $_ := set $variables (printf "transfers.%s.env" $name) ($own.env | default dict) -}}
{{- end -}}
{{- range $where, $env := $variables -}}
{{- range $name, $value := $env -}}
{{- $isSecret := and (regexMatch $secret $name) (not (regexMatch $file $name)) (ne (toString $value) "") -}}
{{- if and (not (kindIs "map" $value)) (or $isSecret (regexMatch $password (toString $value))) -}}
{{- fail (printf "%s.%s holds a password, and %s" $where $name $advice) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $config := fromYaml .Values.config.content -}}
{{- $places := dict "" $config -}}
{{- range $env, $over := $config.environments | default dict -}}
{{- $_ := set $places (printf "environments.%s." $env) ($over | default dict) -}}
{{- end -}}
{{- range $where, $part := $places -}}
{{- if regexMatch $password (toString $part.ledger) -}}
{{- fail (printf "%sledger holds a password, and %s" $where $advice) -}}
{{- end -}}
{{- range $name, $connection := $part.connections | default dict -}}
{{- $connection = ternary $connection dict (kindIs "map" $connection) -}}
{{- range $key, $value := merge (dict "url" (toString $connection.url)) ($connection.options | default dict) -}}
{{- $isLiteral := not (hasPrefix "${" (toString $value)) -}}
{{- $isSecret := and $isLiteral (regexMatch $secret $key) (not (regexMatch $file $key)) -}}
{{- if or $isSecret (regexMatch $password (toString $value)) -}}
{{- fail (printf "%sconnections.%s: %s holds a password, and %s" $where $name $key $advice) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
