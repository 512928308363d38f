{{/* What all pods have in common. enableServiceLinks: a Service called shadow-ui would otherwise set SHADOW_UI_PORT. */}}
{{- define "shadow.podSettings" -}}
serviceAccountName: {{ include "shadow.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{/* Where the pods of a part run. Arguments: root, part, slice. */}}
{{- define "shadow.placement" -}}
{{- $values := get .root.Values .part -}}
topologySpreadConstraints:
  {{- if $values.topologySpreadConstraints }}
  {{- toYaml $values.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "shadow.selectorLabels" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .part }}
        {{- with .slice }}
        slice: {{ . }}
        {{- end }}
  {{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Labels and annotations of the pods of a part. Arguments: root, part, slice, checksum. */}}
{{- define "shadow.podMetadata" -}}
{{- $values := get .root.Values .part -}}
labels:
  {{- include "shadow.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .part }}
  {{- with .slice }}
  slice: {{ . }}
  {{- end }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or .checksum $values.podAnnotations }}
annotations:
  {{- if .checksum }}
  checksum/config: {{ include "shadow.config" .root | sha256sum }}
  {{- end }}
  {{- with $values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Image, rights, environment and files of each container. Arguments: root, part, adminHost, runnerHost, slice. */}}
{{- define "shadow.container" -}}
{{- $values := get .root.Values .part -}}
image: {{ include "shadow.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: [{{ .part | quote }}, "--config", "/etc/shadow-proxy/config.yaml"{{ with .slice }}, "--slice", {{ . | quote }}{{ end }}]
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  privileged: false
  capabilities:
    drop: [ALL]
{{- with concat .root.Values.existingSecrets $values.existingSecrets }}
envFrom:
  {{- range . }}
  - secretRef:
      name: {{ . }}
  {{- end }}
{{- end }}
env:
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: SHADOW_ADMIN_HOST
    value: {{ .adminHost | quote }}
  - name: SHADOW_RUNNER_HOST
    value: {{ .runnerHost | quote }}
  {{- with .slice }}
  - name: {{ include "shadow.sliceVariable" . }}
    value: {{ $.runnerHost | quote }}
  {{- end }}
  {{- with .root.Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
volumeMounts:
  - name: config
    mountPath: /etc/shadow-proxy
    readOnly: true
  - name: state
    mountPath: /var/lib/shadow
  - name: tmp
    mountPath: /tmp
  {{- with .root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "shadow.volumes" -}}
- name: config
  configMap:
    name: {{ include "shadow.fullname" . }}
- name: tmp
  emptyDir: {}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The disk of a part. Arguments: root, part, slice. */}}
{{- define "shadow.stateClaim" -}}
{{- $persistence := (get .root.Values .part).persistence -}}
- metadata:
    name: state
    labels:
      {{- include "shadow.selectorLabels" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .part }}
      {{- with .slice }}
      slice: {{ . }}
      {{- end }}
  spec:
    accessModes:
      {{- toYaml $persistence.accessModes | nindent 6 }}
    {{- with $persistence.storageClassName }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests:
        storage: {{ $persistence.size }}
{{- end -}}

{{- define "shadow.proxyContainer" -}}
- name: proxy
  {{- $host := printf "$(POD_NAME).%s" (include "shadow.podDomain" (dict "root" . "part" "proxy")) }}
  {{- $runner := ternary (include "shadow.runnerHost" (dict "root" . "ordinal" 0 "slice" (first (fromJsonArray (include "shadow.slices" .))))) $host (not (empty (include "shadow.shared" .))) }}
  {{- include "shadow.container" (dict "root" . "part" "proxy" "adminHost" $host "runnerHost" $runner) | nindent 2 }}
  ports:
    - name: clients
      containerPort: 8080
    {{- range $worker := until (include "shadow.workers" . | int) }}
    - name: control-{{ $worker }}
      containerPort: {{ add 9901 $worker }}
    {{- end }}
  startupProbe:
    httpGet: {path: /healthz, port: control-0, scheme: {{ include "shadow.scheme" . }}}
    periodSeconds: 2
    failureThreshold: 60
  readinessProbe:
    httpGet: {path: /readyz, port: control-0, scheme: {{ include "shadow.scheme" . }}}
    periodSeconds: 3
    timeoutSeconds: 2
    failureThreshold: 2
  # Slow to decide: a proxy under load is better than none.
  livenessProbe:
    httpGet: {path: /healthz, port: control-0, scheme: {{ include "shadow.scheme" . }}}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  {{- if .Values.proxy.preStopSeconds }}
  lifecycle:
    preStop:
      sleep:
        seconds: {{ .Values.proxy.preStopSeconds }}
  {{- end }}
{{- end -}}

{{/* /readyz is not asked: a runner that waits for its lease, or aligns the shadow, is as it should be. Arguments: root, slice. */}}
{{- define "shadow.runnerContainer" -}}
- name: runner
  {{- $part := ternary "runner" "proxy" (not (empty (include "shadow.shared" .root))) }}
  {{- $host := printf "$(POD_NAME).%s" (include "shadow.podDomain" (dict "root" .root "part" $part)) }}
  {{- include "shadow.container" (dict "root" .root "part" "runner" "adminHost" (include "shadow.proxyHost" (dict "root" .root "ordinal" 0)) "runnerHost" $host "slice" .slice) | nindent 2 }}
  ports:
    - name: runner
      containerPort: {{ include "shadow.runnerPort" .root }}
  startupProbe:
    httpGet: {path: /healthz, port: runner}
    periodSeconds: 5
    failureThreshold: 120
  livenessProbe:
    httpGet: {path: /healthz, port: runner}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
{{- end -}}

{{- define "shadow.uiContainer" -}}
- name: ui
  {{- $proxy := include "shadow.proxyHost" (dict "root" . "ordinal" 0) }}
  {{- $runner := include "shadow.runnerHost" (dict "root" . "ordinal" 0 "slice" (first (fromJsonArray (include "shadow.slices" .)))) }}
  {{- include "shadow.container" (dict "root" . "part" "ui" "adminHost" $proxy "runnerHost" $runner) | nindent 2 }}
  ports:
    - name: ui
      containerPort: {{ include "shadow.uiPort" . }}
  startupProbe:
    httpGet: {path: /healthz, port: ui, scheme: {{ include "shadow.uiScheme" . }}}
    periodSeconds: 2
    failureThreshold: 60
  {{- if include "shadow.shared" . }}
  readinessProbe:
    httpGet: {path: /healthz, port: ui, scheme: {{ include "shadow.uiScheme" . }}}
    periodSeconds: 5
    timeoutSeconds: 3
  {{- end }}
  livenessProbe:
    httpGet: {path: /healthz, port: ui, scheme: {{ include "shadow.uiScheme" . }}}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
{{- end -}}
