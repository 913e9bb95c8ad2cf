package main

import (
	"context"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine"
)

// exportScrub is the scrub setting in an export.
type exportScrub struct {
	Period string `json:"period"` // a duration of Go: "720h0m0s"
	Rate   int64  `json:"min_bytes_per_second"`
}

// ownScrub returns the scrub setting, nil where none was made.
func (d *daemon) ownScrub(ctx context.Context) (*exportScrub, error) {
	_, err := d.engine.Docs("").Get(ctx, docScrub)
	if engine.KindOf(err) == engine.NoDoc {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	set := d.scrub()
	return &exportScrub{Period: set.Period, Rate: set.MinRate}, nil
}

func (p *importPlan) scrub(ctx context.Context, c *exportContent) error {
	in := c.Scrub
	if in == nil {
		return nil
	}
	period, err := time.ParseDuration(in.Period)
	if err != nil || period != 0 && (period < scrubPeriodMin || period > scrubPeriodMax) || in.Rate < 0 || in.Rate > scrubRateMax {
		return refuse(api.CodeUsage, "malformed export: scrub setting %.64q, %d", in.Period, in.Rate)
	}
	old, err := p.d.ownScrub(ctx)
	if err != nil {
		return err
	}
	if p.note("scrub", "", old != nil, old != nil && *old == *in, "") {
		p.step(func(ctx context.Context) error {
			return p.d.setScrub(ctx, &api.SetScrub{Period: &in.Period, Rate: &in.Rate})
		})
	}
	return nil
}
