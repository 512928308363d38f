{{/* Name of the installation's objects; short enough for what is added to it. */}}
{{- define "shadow.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "shadow.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "shadow.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "shadow.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
installation: {{ .Values.installation | quote }}
{{- end -}}

{{- define "shadow.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "shadow.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "shadow.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* config.yaml as it was given, as YAML: the file, and the sections of `config` over it. */}}
{{- define "shadow.givenConfig" -}}
{{- $given := dict -}}
{{- if .Values.configFile -}}
{{- $given = fromYaml .Values.configFile -}}
{{- if hasKey $given "Error" -}}
{{- fail (printf "configFile: not a YAML mapping: %s" $given.Error) -}}
{{- end -}}
{{- end -}}
{{- $given = mergeOverwrite $given (deepCopy .Values.config) -}}
{{- /* YAML 1.1, which Helm reads, has `off` as another word for false. */ -}}
{{- range $section, $field := dict "capture" "driver" "runner" "resync" -}}
{{- $values := get $given $section | default dict -}}
{{- if kindIs "bool" (get $values $field) -}}
{{- $_ := set $values $field (ternary "on" "off" (get $values $field)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $given -}}
{{- end -}}

{{/* "true" where the proxies ship their exchanges to a broker, so that each part has pods of its own. */}}
{{- define "shadow.shared" -}}
{{- $given := fromYaml (include "shadow.givenConfig" .) -}}
{{- if eq (dig "journal" "driver" "files" $given | toString) "valkey" -}}true{{- end -}}
{{- end -}}

{{- define "shadow.workers" -}}
{{- $given := fromYaml (include "shadow.givenConfig" .) -}}
{{- dig "listen" "workers" 1 $given | int -}}
{{- end -}}

{{/* The ports: the workers' control ports follow one another, and those of runner and web UI follow them. */}}
{{- define "shadow.runnerPort" -}}
{{- add 9901 (include "shadow.workers" . | int) -}}
{{- end -}}
{{- define "shadow.uiPort" -}}
{{- add 9902 (include "shadow.workers" . | int) -}}
{{- end -}}

{{- define "shadow.scheme" -}}
{{- $given := fromYaml (include "shadow.givenConfig" .) -}}
{{- ternary "HTTPS" "HTTP" (not (empty (dig "admin" "tls" dict $given))) -}}
{{- end -}}
{{- define "shadow.uiScheme" -}}
{{- $given := fromYaml (include "shadow.givenConfig" .) -}}
{{- ternary "HTTPS" "HTTP" (not (empty (dig "ui" "tls" dict $given))) -}}
{{- end -}}

{{/* The greatest number of proxies. */}}
{{- define "shadow.proxiesMax" -}}
{{- ternary .Values.proxy.autoscaling.maxReplicas .Values.proxy.replicas .Values.proxy.autoscaling.enabled | int -}}
{{- end -}}

{{/* Domain of a part's pods: behind `<pod>.`, it is the name that the kubelet writes into the pod's /etc/hosts. */}}
{{- define "shadow.podDomain" -}}
{{ include "shadow.fullname" .root }}-{{ .part }}-pods.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}
{{- end -}}
{{- define "shadow.proxyHost" -}}
{{ include "shadow.fullname" .root }}-proxy-{{ .ordinal }}.{{ include "shadow.podDomain" (dict "root" .root "part" "proxy") }}
{{- end -}}
{{- define "shadow.runnerHost" -}}
{{- if include "shadow.shared" .root -}}
{{ include "shadow.runnerName" . }}-{{ .ordinal }}.{{ include "shadow.podDomain" (dict "root" .root "part" "runner") }}
{{- else -}}
{{ include "shadow.proxyHost" . }}
{{- end -}}
{{- end -}}

{{/* JSON list of the slices' names in runner.slices; of one empty name where there are none. */}}
{{- define "shadow.slices" -}}
{{- $given := fromYaml (include "shadow.givenConfig" .) -}}
{{- $names := list -}}
{{- range dig "runner" "slices" list $given -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $names | default (list "") | toJson -}}
{{- end -}}
{{/* Name of the runner's StatefulSet of a slice. Arguments: root, slice. */}}
{{- define "shadow.runnerName" -}}
{{ include "shadow.fullname" .root }}-runner{{ with .slice }}-{{ . | replace "_" "-" }}{{ end }}
{{- end -}}
{{/* The variable of the address that a slice's runner listens on; elsewhere it is not set. */}}
{{- define "shadow.sliceVariable" -}}
SHADOW_SLICE_{{ upper . }}_HOST
{{- end -}}

{{/* config.yaml: what was given, and what follows from the cluster. */}}
{{- define "shadow.config" -}}
{{- $root := . -}}
{{- $given := fromYaml (include "shadow.givenConfig" .) -}}
{{- $shared := include "shadow.shared" . -}}
{{- $workers := include "shadow.workers" . | int -}}
{{- $control := printf "%s-control" (include "shadow.fullname" .) -}}
{{- $inNamespace := printf "%s.%s" $control .Release.Namespace -}}
{{- $hosts := list $control $inNamespace (printf "%s.svc" $inNamespace) (printf "%s.svc.%s" $inNamespace .Values.clusterDomain) -}}
{{- $peers := list -}}
{{- $runners := list -}}
{{- if $shared -}}
{{- range $ordinal := until (include "shadow.proxiesMax" . | int) -}}
{{- range $worker := until $workers -}}
{{- $peers = append $peers (dict "host" (include "shadow.proxyHost" (dict "root" $root "ordinal" $ordinal)) "port" (add 9901 $worker)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $runnerPort := include "shadow.runnerPort" . | int -}}
{{- range $slice := fromJsonArray (include "shadow.slices" .) -}}
{{- range $ordinal := until (ternary $root.Values.runner.replicas 1 (not (empty $shared)) | int) -}}
{{- $host := include "shadow.runnerHost" (dict "root" $root "ordinal" $ordinal "slice" $slice) -}}
{{- $runners = append $runners (printf "http://%s:%d/metrics" $host $runnerPort) -}}
{{- end -}}
{{- end -}}
{{- $slices := list -}}
{{- range $slice := dig "runner" "slices" list $given -}}
{{- $host := include "shadow.runnerHost" (dict "root" $root "ordinal" 0 "slice" $slice.name) -}}
{{- $variable := include "shadow.sliceVariable" $slice.name -}}
{{- $slices = append $slices (mergeOverwrite (deepCopy $slice) (dict "host" (printf "${%s:-%s}" $variable $host) "port" $runnerPort)) -}}
{{- end -}}
{{- $defaults := dict
      "admin" (dict "token" "${SHADOW_ADMIN_TOKEN:-}")
      "databases" (dict "live" "${SHADOW_LIVE_DSN:-}" "shadow" "${SHADOW_SHADOW_DSN:-}" "store" "${SHADOW_STORE_DSN:-}") -}}
{{- $own := dict
      "listen" (dict "host" "0.0.0.0" "port" 8080)
      "admin" (dict "host" "${SHADOW_ADMIN_HOST}" "port" 9901 "hosts" (concat $hosts (dig "admin" "hosts" list $given)))
      "runner" (dict "host" "${SHADOW_RUNNER_HOST}" "port" $runnerPort)
      "ui" (dict "host" "0.0.0.0" "port" (include "shadow.uiPort" . | int))
      "rollout" (dict "peers" $peers "sources" (dict "runners" $runners)) -}}
{{- if $slices -}}
{{- $_ := set $own.runner "slices" $slices -}}
{{- end -}}
{{- toYaml (mergeOverwrite (merge $given $defaults) $own) -}}
{{- end -}}

{{/* Seconds from SIGTERM to SIGKILL of a proxy: the pause before, the drain, and 30 for the journal's queue and the spool. */}}
{{- define "shadow.proxyGraceSeconds" -}}
{{- $given := fromYaml (include "shadow.givenConfig" .) -}}
{{- add .Values.proxy.preStopSeconds (dig "limits" "drain_s" 10 $given | default 10 | float64 | ceil | int) 30 -}}
{{- end -}}

{{/* Combinations that would fail later, or harm silently. */}}
{{- define "shadow.check" -}}
{{- $given := fromYaml (include "shadow.givenConfig" .) -}}
{{- $shared := include "shadow.shared" . -}}
{{- range $path, $value := dict "journal.driver" (dig "journal" "driver" "" $given) "listen.workers" (dig "listen" "workers" "" $given) "limits.drain_s" (dig "limits" "drain_s" "" $given) -}}
{{- if contains "${" (toString $value) -}}
{{- fail (printf "config: %s: pods, ports and times follow from it, so write the value and no variable" $path) -}}
{{- end -}}
{{- end -}}
{{- if and (not $shared) (or .Values.proxy.autoscaling.enabled (gt (int .Values.proxy.replicas) 1) (gt (int .Values.runner.replicas) 1)) -}}
{{- fail "more than one proxy or runner needs `journal.driver: valkey`: with files they have to share a disk" -}}
{{- end -}}
{{- if and .Values.proxy.autoscaling.enabled (dig "rollout" "enabled" false $given) -}}
{{- fail "proxy.autoscaling cannot be enabled together with rollout.enabled: the gates stay closed while a proxy of rollout.peers does not answer" -}}
{{- end -}}
{{- range $slice := fromJsonArray (include "shadow.slices" .) -}}
{{- if gt (len (include "shadow.runnerName" (dict "root" $ "slice" $slice))) 52 -}}
{{- fail (printf "runner.slices: the name of the StatefulSet of slice %s has more than 52 characters: set fullnameOverride" $slice) -}}
{{- end -}}
{{- end -}}
{{- if dig "listen" "unix" "" $given -}}
{{- fail "listen.unix: clients reach the proxy by its port" -}}
{{- end -}}
{{- end -}}

{{/* A file that `make dashboards` writes, with this installation's addresses in its links. Arguments: root, path. */}}
{{- define "shadow.generated" -}}
{{- .root.Files.Get .path | replace "http://127.0.0.1:9903" (trimSuffix "/" .root.Values.monitoring.uiUrl) | replace "http://127.0.0.1:3000" (trimSuffix "/" .root.Values.monitoring.grafanaUrl) -}}
{{- end -}}
