package caddymodule

import (
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stepgate/stepgate/internal/ceremony/metadata"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

// metrics are the collectors of this process. They count on across reloads: Caddy makes a registry for each configuration,
// and each is given the same collectors.
var metrics = newMeters()

// meters are all metrics of Stepgate. Every label has a closed list of values, at [newMeters]; none holds a user, a host, a
// path or anything else that a client chooses.
type meters struct {
	families   []family
	collectors []prometheus.Collector

	judged      *prometheus.CounterVec
	open        prometheus.Counter // of judged, found beforehand: these two are counted on the hot path
	allowed     prometheus.Counter
	own         *prometheus.CounterVec
	rateLimited prometheus.Counter
	minted      *prometheus.CounterVec
	views       map[gate.Source]prometheus.Counter
	cached      prometheus.Counter // of views, for the hot path too

	started    *prometheus.CounterVec
	ceremonies *prometheus.CounterVec
	ceremony   *prometheus.HistogramVec
	registered *prometheus.CounterVec
	removed    prometheus.Counter

	storeCalls *prometheus.CounterVec
	storeCall  *prometheus.HistogramVec

	metadata *metadataGauges
	loads    *prometheus.CounterVec

	dynamoCalls *prometheus.CounterVec
	dynamoUnits *prometheus.CounterVec

	reasons map[passkey.Refusal]bool
}

// family describes one metric, for the tests that hold the documentation, the dashboard and the alerts to the code.
type family struct {
	name   string
	kind   string // "counter", "gauge" or "histogram"
	labels []label
}

type label struct {
	name   string
	values []string
}

// seconds are the buckets of all durations: a call of the file store takes milliseconds, one of DynamoDB some more, and none
// may take longer than the budget of 2.5 s.
var seconds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

func newMeters() *meters {
	m := &meters{reasons: map[passkey.Refusal]bool{}, views: map[gate.Source]prometheus.Counter{}}
	for _, reason := range gate.Reasons() {
		m.reasons[reason] = true
	}
	reason := label{"reason", append([]string{""}, texts(gate.Reasons())...)}
	failed := label{"result", texts([]gate.Result{ceremonyOK, gate.Refused, gate.Failed})}
	kind := label{"kind", []string{passkey.Registration.String(), passkey.Authentication.String()}}
	action := label{"action", append([]string{""}, texts([]passkey.Action{passkey.StepUp, passkey.Add, passkey.Remove, passkey.FirstUse, passkey.Another, passkey.Invited})...)}
	operation := label{"operation", storeOperations}
	level := label{"level", []string{passkey.Present.String(), passkey.Verified.String(), passkey.DeviceBound.String(), passkey.Attested.String()}}

	m.judged = m.counter("requests_judged_total", "Requests on their way to an upstream, by what the gate decided.",
		label{"result", texts([]gate.Result{gate.Open, gate.Allowed, gate.StepUp, gate.Refused, gate.Failed, gate.WouldStep, gate.WouldRefuse})}, reason)
	m.own = m.counter("own_requests_total", "Requests for the gateway's own addresses.",
		label{"result", texts([]gate.Result{gate.Served, gate.Refused, gate.Failed})}, reason)
	m.rateLimited = m.counter("rate_limited_total", "Requests that were refused because there were too many.").WithLabelValues()
	m.minted = m.counter("grants_minted_total", "Grants made, by the level that was proved.", level)
	views := m.counter("view_reads_total", "Looks at what is known of a user, by where the answer came from.",
		label{"result", texts([]gate.Source{gate.Cached, gate.Read, gate.Shared, gate.Unreadable})})

	m.started = m.counter("ceremonies_started_total", "Ceremonies whose options were given out.", kind, action)
	m.ceremonies = m.counter("ceremonies_total", "Ceremonies that ended: finished, refused at the end, or refused at the start.", kind, action, failed, reason)
	m.ceremony = m.histogram("ceremony_duration_seconds", "Time that the gateway took to finish a ceremony, its store calls included.", kind, failed)
	m.registered = m.counter("passkeys_registered_total", "Passkeys registered; first are those on the first factor alone.", label{"first", []string{"true", "false"}})
	m.removed = m.counter("passkeys_removed_total", "Passkeys removed by their users.").WithLabelValues()

	m.storeCalls = m.counter("store_calls_total", "Calls of the store.", operation, label{"result", append([]string{string(ceremonyOK)}, texts(gate.Reasons())...)})
	m.storeCall = m.histogram("store_call_duration_seconds", "Time that calls of the store took, with their retries.", operation)

	m.metadata = m.metadataGauges()
	m.loads = m.counter("metadata_loads_total", "Attempts to load authenticator metadata.", label{"result", texts(metadata.Results())})

	m.dynamoCalls = m.counter("dynamodb_calls_total", "Calls of DynamoDB's API; one call may take several attempts.",
		label{"operation", append(slices.Clone(dynamoOperations), dynamoOther)}, label{"result", dynamoResults})
	m.dynamoUnits = m.counter("dynamodb_consumed_units_total", "Capacity units that DynamoDB says were consumed.", label{"kind", []string{"read", "write"}})

	m.open, m.allowed = m.judged.WithLabelValues(string(gate.Open), ""), m.judged.WithLabelValues(string(gate.Allowed), "")
	for _, source := range []gate.Source{gate.Cached, gate.Read, gate.Shared, gate.Unreadable} {
		m.views[source] = views.WithLabelValues(string(source))
	}
	m.cached = m.views[gate.Cached]
	m.begin(operation.values, level.values)
	return m
}

// begin makes the series that people put in alerts: one that appears with its first failure has no rate for it.
func (m *meters) begin(operations, levels []string) {
	for _, reason := range gate.GrantReasons() {
		m.judged.WithLabelValues(string(gate.StepUp), string(reason))
	}
	for _, reason := range []passkey.Refusal{passkey.StoreUnavailable, passkey.Internal} {
		m.judged.WithLabelValues(string(gate.Failed), string(reason))
		m.own.WithLabelValues(string(gate.Failed), string(reason))
	}
	m.own.WithLabelValues(string(gate.Served), "")
	for _, level := range levels {
		m.minted.WithLabelValues(level)
	}
	for _, action := range []passkey.Action{passkey.StepUp, passkey.Add, passkey.Remove, passkey.FirstUse, passkey.Another} {
		kind := action.Kind().String()
		m.started.WithLabelValues(kind, string(action))
		m.ceremonies.WithLabelValues(kind, string(action), string(ceremonyOK), "")
		m.ceremonies.WithLabelValues(kind, string(action), string(gate.Failed), string(passkey.StoreUnavailable))
	}
	m.ceremonies.WithLabelValues(passkey.Authentication.String(), string(passkey.StepUp), string(gate.Refused), string(passkey.CounterRegressed))
	for _, operation := range operations {
		m.storeCalls.WithLabelValues(operation, string(ceremonyOK))
		m.storeCalls.WithLabelValues(operation, string(passkey.StoreUnavailable))
		m.storeCall.WithLabelValues(operation)
	}
	m.registered.WithLabelValues("true")
	m.registered.WithLabelValues("false")
}

func (m *meters) counter(name, help string, labels ...label) *prometheus.CounterVec {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "stepgate", Name: name, Help: help}, names(labels))
	m.add(name, "counter", labels, vec)
	return vec
}

func (m *meters) histogram(name, help string, labels ...label) *prometheus.HistogramVec {
	vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "stepgate", Name: name, Help: help, Buckets: seconds}, names(labels))
	m.add(name, "histogram", labels, vec)
	return vec
}

func (m *meters) add(name, kind string, labels []label, collector prometheus.Collector) {
	m.families = append(m.families, family{"stepgate_" + name, kind, labels})
	m.collectors = append(m.collectors, collector)
}

func names(labels []label) (list []string) {
	for _, label := range labels {
		list = append(list, label.name)
	}
	return list
}

func texts[T ~string](values []T) (list []string) {
	for _, value := range values {
		list = append(list, string(value))
	}
	return list
}

// register gives the collectors to a configuration's registry. Each has its own; several contexts of one configuration may
// share it, so that they are there already is no error.
func (m *meters) register(registry *prometheus.Registry) error {
	if registry == nil {
		return nil
	}
	for _, collector := range m.collectors {
		var there prometheus.AlreadyRegisteredError
		if err := registry.Register(collector); err != nil && !(errors.As(err, &there) && there.ExistingCollector == collector) {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

// reason returns a refusal as a label. A store that another package brings could return one that is not of the list.
func (m *meters) reason(refusal passkey.Refusal) string {
	if refusal == "" || m.reasons[refusal] {
		return string(refusal)
	}
	return string(passkey.Internal)
}

// Judged implements [gate.Meter].
func (m *meters) Judged(result gate.Result, reason passkey.Refusal) {
	switch result {
	case gate.Allowed:
		m.allowed.Inc()
	case gate.Open:
		m.open.Inc()
	default:
		m.judged.WithLabelValues(string(result), m.reason(reason)).Inc()
		m.limited(reason)
	}
}

// Own implements [gate.Meter].
func (m *meters) Own(result gate.Result, reason passkey.Refusal) {
	m.own.WithLabelValues(string(result), m.reason(reason)).Inc()
	m.limited(reason)
}

func (m *meters) limited(reason passkey.Refusal) {
	if reason == passkey.RateLimited {
		m.rateLimited.Inc()
	}
}

// Minted implements [gate.Meter].
func (m *meters) Minted(level passkey.Level) {
	if level.Valid() {
		m.minted.WithLabelValues(level.String()).Inc()
	}
}

// viewed counts a look at what is known of a user, also on the hot path.
func (m *meters) viewed(source gate.Source) {
	if source == gate.Cached {
		m.cached.Inc()
	} else if counter := m.views[source]; counter != nil {
		counter.Inc()
	}
}

// Interface guards
var _ gate.Meter = (*meters)(nil)
