package caddymodule

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stepgate/stepgate/internal/ceremony/metadata"
)

// metadataGauges tell how the authenticator metadata is that is held now. Without `attestation` they have no series.
type metadataGauges struct {
	inForce, number, age, next *prometheus.Desc

	mu      sync.Mutex
	holders []*metadata.Holder // the last is that of the newest configuration
}

func (m *meters) metadataGauges() *metadataGauges {
	gauge := func(name, help string) *prometheus.Desc {
		m.families = append(m.families, family{"stepgate_" + name, "gauge", nil})
		return prometheus.NewDesc("stepgate_"+name, help, nil, nil)
	}
	g := &metadataGauges{
		inForce: gauge("metadata_in_force", "1 while authenticator metadata is in force, so that level attested can be reached; else 0."),
		number:  gauge("metadata_number", "The number of the authenticator metadata that was loaded last."),
		age:     gauge("metadata_age_seconds", "For how long the source of the authenticator metadata has not confirmed what was loaded last."),
		next:    gauge("metadata_next_update_timestamp_seconds", "When the next authenticator metadata is due, in seconds since 1970."),
	}
	m.collectors = append(m.collectors, g)
	return g
}

func (g *metadataGauges) add(h *metadata.Holder) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holders = append(g.holders, h)
}

func (g *metadataGauges) drop(h *metadata.Holder) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holders = slices.DeleteFunc(g.holders, func(held *metadata.Holder) bool { return held == h })
}

// Describe implements [prometheus.Collector].
func (g *metadataGauges) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{g.inForce, g.number, g.age, g.next} {
		to <- desc
	}
}

// Collect implements [prometheus.Collector].
func (g *metadataGauges) Collect(to chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.holders) == 0 {
		return
	}
	send := func(desc *prometheus.Desc, value float64) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	holder := g.holders[len(g.holders)-1]
	inForce := 0.0
	if holder.Current() != nil {
		inForce = 1
	}
	send(g.inForce, inForce)
	if last := holder.Last(); last != nil {
		send(g.number, float64(last.Number))
		send(g.age, max(0, time.Since(last.AsOf).Seconds()))
		send(g.next, float64(last.NextUpdate.Unix()))
	}
}

// loaded counts an attempt to load authenticator metadata.
func (m *meters) loaded(result metadata.Result) { m.loads.WithLabelValues(string(result)).Inc() }
