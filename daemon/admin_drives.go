package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/daemon/smart"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta"
)

// driveChangeTimeout bounds a change of the drives, which goes on when the
// administrator has gone: half of it would be worse.
const driveChangeTimeout = 10 * time.Minute

// Kinds of drives.
const (
	kindDirectory = "directory"
	kindBlock     = "block device"
)

// driveRoutes are the admin routes of drives.
func driveRoutes() map[string]adminFunc {
	return map[string]adminFunc{
		"GET /v1/drives":                  adminDrives,
		"POST /v1/drives":                 adminAddDrive,
		"GET /v1/drives/{drive}":          adminDrive,
		"POST /v1/drives/{drive}/remove":  adminRemoveDrive,
		"POST /v1/drives/{drive}/replace": adminReplaceDrive,
		"GET /v1/heal":                    adminHeal,
		"POST /v1/rebalance":              adminRebalance,
		"GET /v1/scrub":                   adminScrub,
		"POST /v1/scrub":                  adminStartScrub,
		"PATCH /v1/scrub":                 adminSetScrub,
		"DELETE /v1/scrub":                adminStopScrub,
		"GET /v1/check":                   adminCheck,
		"POST /v1/check":                  adminStartCheck,
		"DELETE /v1/check":                adminStopCheck,
	}
}

// drives describes the cluster's drives, as st has them.
func (d *daemon) drives(st *engine.Status) []api.Drive {
	states := make(map[layout.DriveID]engine.DriveStatus, len(st.Drives))
	for _, s := range st.Drives {
		states[s.ID] = s
	}
	tasks := d.engine.HealStatus().Tasks
	copies := d.meta.store.Copies()
	var out []api.Drive
	for _, b := range d.roster.all() {
		s, ok := states[b.id]
		if !ok {
			s.State = engine.DriveAbsent
		}
		dr := d.describe(&b, &s)
		for _, t := range tasks {
			if t.Drive == b.id {
				task := d.apiTask(&t)
				dr.Task = &task
			}
		}
		dr.Metadata = copyOn(copies, metaDirOf(&b))
		out = append(out, dr)
	}
	return out
}

// describe describes one drive.
func (d *daemon) describe(b *bay, s *engine.DriveStatus) api.Drive {
	dr := api.Drive{
		ID: b.id.String(), Path: b.path(), State: s.State.String(), Added: b.doc.Added, Kind: kindDirectory, Successor: b.doc.Successor,
		Total: s.Total, Used: s.Used, Free: s.Free,
		Backend: s.Stats.Backend, Direct: s.Stats.Direct, Registered: s.Stats.Registered, Errors: s.Stats.Errors,
	}
	if b.loc.block || b.drive == nil && strings.HasPrefix(b.doc.Path, "/dev/") {
		dr.Kind = kindBlock
	}
	switch {
	case b.doc.State == docReplaced && s.State == engine.DriveDraining:
		dr.State = api.StateReplaced
	case b.err != nil:
		dr.Error, dr.Since = b.err.Error(), inUTC(b.since)
	case s.Cause != nil:
		dr.Error, dr.Since = s.Cause.Error(), inUTC(s.Since)
	case s.Err != nil:
		dr.Error = s.Err.Error()
	}
	if b.drive == nil {
		return dr
	}
	h := &s.Health
	dr.Errors, dr.Timeouts, dr.Stalls, dr.Corrupt, dr.Hung = max(dr.Errors, h.Errors), h.Timeouts, h.Stalls, h.Corrupt, h.Hung
	dr.Reads, dr.Writes = apiLatency(h.Reads), apiLatency(h.Writes)
	if dr.Error == "" && h.Failing != nil {
		dr.Error = h.Failing.Error()
	}
	if in := d.smart.Get(b.loc.path); in.Device != "" {
		dr.Smart = apiSmart(&in)
	}
	return dr
}

func apiLatency(l drive.Latency) *api.Latency {
	if l.Count == 0 {
		return nil
	}
	return &api.Latency{Count: l.Count, P50: l.P50.Seconds(), P99: l.P99.Seconds(), Max: l.Max.Seconds()}
}

func apiSmart(in *smart.Info) *api.Smart {
	return &api.Smart{
		Device: in.Device, Model: in.Model, Serial: in.Serial, Temperature: in.Temperature, Wear: in.Wear, Spare: in.Spare,
		PowerOnHours: in.PowerOnHours, MediaErrors: in.MediaErrors, Critical: in.Critical,
	}
}

// copyOn says what the directory is among the copies of the metadata.
func copyOn(copies []pebblemeta.CopyStatus, dir string) string {
	i := slices.IndexFunc(copies, func(c pebblemeta.CopyStatus) bool { return c.Dir == dir })
	switch {
	case i < 0 || dir == "":
		return ""
	case copies[i].Filling:
		return "filling"
	case copies[i].Primary:
		return "primary"
	}
	return "copy"
}

func adminDrives(d *daemon, _ *http.Request) (any, error) {
	st := d.engine.Status()
	return d.drives(&st), nil
}

func adminDrive(d *daemon, r *http.Request) (any, error) {
	b, err := d.roster.find(r.PathValue("drive"))
	if err != nil {
		return nil, err
	}
	return d.oneDrive(b.id)
}

// oneDrive describes one drive as it is now.
func (d *daemon) oneDrive(id layout.DriveID) (any, error) {
	st := d.engine.Status()
	for _, dr := range d.drives(&st) {
		if dr.ID == id.String() {
			return dr, nil
		}
	}
	return nil, refuse(api.CodeNotFound, "drive %s is no longer of the cluster", id)
}

// changeDrives runs a change to its end and describes the drive that it returns.
func (d *daemon) changeDrives(r *http.Request, change func(ctx context.Context) (bay, error)) (any, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), driveChangeTimeout)
	defer cancel()
	b, err := change(ctx)
	if err != nil {
		return nil, err
	}
	return d.oneDrive(b.id)
}

func adminAddDrive(d *daemon, r *http.Request) (any, error) {
	var in api.AddDrive
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	return d.changeDrives(r, func(ctx context.Context) (bay, error) {
		b, err := d.addDrive(ctx, in.Path)
		if err == nil && in.Rebalance {
			err = d.setRebalance(ctx, true)
		}
		return b, err
	})
}

func adminRemoveDrive(d *daemon, r *http.Request) (any, error) {
	var in api.RemoveDrive
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	b, err := d.roster.find(r.PathValue("drive"))
	if err != nil {
		return nil, err
	}
	return d.changeDrives(r, func(ctx context.Context) (bay, error) {
		if in.Cancel {
			return b, d.keepDrive(ctx, b)
		}
		return b, d.removeDrive(ctx, b, in.Force)
	})
}

func adminReplaceDrive(d *daemon, r *http.Request) (any, error) {
	var in api.ReplaceDrive
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	b, err := d.roster.find(r.PathValue("drive"))
	if err != nil {
		return nil, err
	}
	return d.changeDrives(r, func(ctx context.Context) (bay, error) { return d.replaceDrive(ctx, b, in.Path) })
}

func adminHeal(d *daemon, _ *http.Request) (any, error) { return d.heal(), nil }

func (d *daemon) heal() api.Heal {
	h := d.engine.HealStatus()
	out := api.Heal{
		Queue: h.Queue, Degraded: h.Degraded, Unhealed: h.Unhealed, Lost: h.Lost, Unprotected: h.Unprotected, Repaired: h.Repaired, Moved: h.Moved,
		Bytes: h.Bytes, Errors: h.Errors, LastError: h.LastError, Tasks: []api.HealTask{},
	}
	for _, t := range h.Tasks {
		out.Tasks = append(out.Tasks, d.apiTask(&t))
	}
	return out
}

func (d *daemon) apiTask(t *engine.HealTask) api.HealTask {
	out := api.HealTask{
		Kind: t.Kind, Total: t.Total, Done: t.Done, Fragments: t.Fragments, Started: inUTC(t.Started), Rate: t.Rate,
		ETA: t.ETA.Seconds(), Waiting: t.Waiting,
	}
	if t.Waiting != "" && t.Kind == "drain" {
		out.Waiting += "; add a drive, or give its place to a new one with 'ctl drive replace'"
	}
	if t.Drive != (layout.DriveID{}) {
		out.Drive = t.Drive.String()
		if b, ok := d.roster.get(t.Drive); ok {
			out.Path = b.path()
		}
	}
	return out
}
