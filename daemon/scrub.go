package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine"
)

// Documents of what goes on in the background.
const (
	docScrub     = "system/scrub-setting" // scrubDoc; how far the scrub is, the engine keeps
	docRebalance = "system/rebalance"     // there while a rebalance is wanted: {}
)

// scrubDoc is how everything is verified again and again.
type scrubDoc struct {
	Period time.Duration `json:"period_ns"`
	Rate   int64         `json:"rate"` // bytes per second at least
}

const (
	scrubPeriodMin = time.Hour
	scrubPeriodMax = 10 * 365 * 24 * time.Hour
	scrubRateMax   = 1 << 50
)

// loadScrub reads the setting and brings it into force.
func (d *daemon) loadScrub(ctx context.Context) error {
	doc := scrubDoc{Period: engine.DefaultScrubPeriod, Rate: engine.DefaultScrubRate}
	docs := d.engine.Docs("")
	found, err := docs.Get(ctx, docScrub)
	if err == nil {
		if err := json.Unmarshal(found.Value, &doc); err != nil {
			return fmt.Errorf("%s: %w", docScrub, err)
		}
	} else if engine.KindOf(err) != engine.NoDoc {
		return err
	}
	d.scrubSet = doc
	if last := d.engine.ScrubStatus(); !last.Running {
		d.metaScrub.seen = last.Started // in an earlier life
	}
	d.engine.SetScrub(doc.Period, doc.Rate)
	if _, err := docs.Get(ctx, docRebalance); err == nil {
		d.engine.Rebalance(true)
	} else if engine.KindOf(err) != engine.NoDoc {
		return err
	}
	return nil
}

// scrub describes the last scrub and the setting.
func (d *daemon) scrub() api.Scrub {
	s := d.engine.ScrubStatus()
	d.scrubMu.Lock()
	set := d.scrubSet
	d.scrubMu.Unlock()
	return api.Scrub{
		Running: s.Running, Started: inUTC(s.Started), Finished: inUTC(s.Finished), Blobs: s.Blobs, Bytes: s.Bytes, Total: s.Total,
		Corrupt: s.Corrupt, Repaired: s.Repaired, Failed: s.Failed, Rate: s.Rate, Next: inUTC(s.Next), Error: s.LastError,
		Period: set.Period.String(), MinRate: set.Rate, Metadata: d.metaScrub.get(),
	}
}

// inUTC keeps the zero time what it is.
func inUTC(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}

func adminScrub(d *daemon, _ *http.Request) (any, error) { return d.scrub(), nil }

func adminStartScrub(d *daemon, r *http.Request) (any, error) {
	var in api.StartScrub
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if in.Rate < 0 || in.Rate > scrubRateMax {
		return nil, refuse(api.CodeUsage, "rate %d is not within 0 and %d bytes per second", in.Rate, int64(scrubRateMax))
	}
	err := d.engine.StartScrub(engine.ScrubOptions{Rate: in.Rate})
	if engine.KindOf(err) == engine.Conflict {
		return nil, refuse(api.CodeConflict, "a scrub is running: 'ctl drive scrub status' shows how far it is, 'ctl drive scrub stop' ends it")
	}
	if err != nil {
		return nil, err
	}
	d.supervisor.wake() // the metadata's copies are verified with it
	return d.scrub(), nil
}

func adminStopScrub(d *daemon, _ *http.Request) (any, error) {
	d.engine.StopScrub()
	return d.scrub(), nil
}

func adminSetScrub(d *daemon, r *http.Request) (any, error) {
	var in api.SetScrub
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if err := d.setScrub(r.Context(), &in); err != nil {
		return nil, err
	}
	return d.scrub(), nil
}

func (d *daemon) setScrub(ctx context.Context, in *api.SetScrub) error {
	d.scrubMu.Lock()
	defer d.scrubMu.Unlock()
	set := d.scrubSet
	if err := setDuration(&set.Period, in.Period); err != nil {
		return err
	}
	if in.Rate != nil {
		set.Rate = *in.Rate
	}
	if set.Period != 0 && (set.Period < scrubPeriodMin || set.Period > scrubPeriodMax) {
		return refuse(api.CodeUsage, "period %s is not within %s and %s; 0s: only when asked", set.Period, scrubPeriodMin, scrubPeriodMax)
	}
	if set.Rate < 0 || set.Rate > scrubRateMax {
		return refuse(api.CodeUsage, "rate %d is not within 0 and %d bytes per second", set.Rate, int64(scrubRateMax))
	}
	value, err := json.Marshal(set)
	if err != nil {
		return err
	}
	if _, err := d.engine.Docs("").Put(ctx, docScrub, value, -1); err != nil {
		return err
	}
	d.scrubSet = set
	d.engine.SetScrub(set.Period, set.Rate)
	return nil
}

func adminRebalance(d *daemon, r *http.Request) (any, error) {
	var in api.Rebalance
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if err := d.setRebalance(r.Context(), in.Enabled); err != nil {
		return nil, err
	}
	return d.heal(), nil
}

// setRebalance starts or stops a rebalance, across restarts.
func (d *daemon) setRebalance(ctx context.Context, on bool) (err error) {
	docs := d.engine.Docs("")
	if on {
		_, err = docs.Put(ctx, docRebalance, []byte("{}"), -1)
	} else if err = docs.Delete(ctx, docRebalance, -1); engine.KindOf(err) == engine.NoDoc {
		err = nil
	}
	if err == nil {
		d.engine.Rebalance(on)
	}
	return err
}
