package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine"
)

// driveWarnings are what an administrator should know of drives and metadata.
func (d *daemon) driveWarnings(drives []api.Drive, copies []api.MetaCopy) []string {
	var out []string
	parity, members := d.engine.Protection()
	switch {
	case members == 1:
		out = append(out, "one drive: no redundancy, what is on it is lost when it fails. 'ctl drive add PATH' adds drives")
	case parity == 0:
		out = append(out, "parity 0: no redundancy, objects are lost when a drive fails")
	}
	if n := d.engine.HealStatus().Unprotected; n > 0 {
		out = append(out, fmt.Sprintf("%d objects or parts have no redundancy yet: they were written when there was none, and are being spread over the drives ('ctl drive heal status')", n))
	}
	out = append(out, outWarnings(drives, parity)...)
	for _, dr := range drives {
		if dr.Smart != nil && len(dr.Smart.Critical) > 0 {
			out = append(out, fmt.Sprintf("drive %s (%s) warns: %s", dr.ID[:8], dr.Path, strings.Join(dr.Smart.Critical, ", ")))
		}
	}
	out = append(out, d.copyWarnings(drives, copies)...)
	out = append(out, d.sharedDisks()...)
	blamed := d.roster.blamed()
	for _, path := range d.cfg.Drives {
		if why := blamed[path]; why != nil && !slices.ContainsFunc(drives, func(dr api.Drive) bool { return dr.Path == path }) {
			out = append(out, fmt.Sprintf("--drive %s is not in use: %v", path, why))
		}
	}
	return out
}

// outWarnings tell of drives that are not in service.
func outWarnings(drives []api.Drive, parity int) []string {
	var out, why []string
	for _, dr := range drives {
		switch dr.State {
		case engine.DriveFailed.String(), engine.DriveAbsent.String(), engine.DriveAttaching.String():
			out = append(out, dr.Path)
			text := fmt.Sprintf("drive %s (%s) is %s", dr.ID[:8], dr.Path, dr.State)
			if dr.Error != "" {
				text += ": " + dr.Error
			}
			why = append(why, text)
		case engine.DriveSuspect.String(), engine.DriveReadOnly.String():
			why = append(why, fmt.Sprintf("drive %s (%s) is %s: %s", dr.ID[:8], dr.Path, dr.State, dr.Error))
		default:
			if dr.Error != "" {
				why = append(why, fmt.Sprintf("drive %s (%s): %s", dr.ID[:8], dr.Path, dr.Error))
			}
		}
	}
	if n := len(out); n > 0 {
		verb := fmt.Sprintf("%d drives are out", n)
		if n == 1 {
			verb = "1 drive is out"
		}
		more := fmt.Sprintf("%d more may fail without loss, besides what has been healed since", parity-n)
		switch {
		case n == parity:
			more = "no other may fail, except for what has been healed since"
		case n > parity:
			more = "some objects cannot be read until drives are back"
		}
		why = append([]string{"degraded: " + verb + "; " + more}, why...)
	}
	return why
}

// copyWarnings tell of metadata that has too few copies, or has them on one disk.
func (d *daemon) copyWarnings(drives []api.Drive, copies []api.MetaCopy) []string {
	have, want := 0, d.wantedCopies()
	disks := map[uint64]bool{}
	for _, c := range copies {
		if !c.Filling {
			have++
			disks[d.meta.disk(c.Dir)] = true
		}
	}
	blocks := !slices.ContainsFunc(drives, func(dr api.Drive) bool { return dr.Kind == kindDirectory })
	const help = "give directories on other disks with --metadata-dir; without metadata nothing on the drives can be read"
	switch {
	case want > 1 && blocks && len(disks) == 1:
		return []string{"the metadata is on one disk: " + help}
	case have < want && blocks:
		return []string{fmt.Sprintf("the metadata has %d of %d copies that are wanted: %s", have, want, help)}
	case have < want:
		return []string{fmt.Sprintf("the metadata has %d of %d copies that are wanted", have, want)}
	}
	return nil
}

// sharedDisks tells of directory drives that are on one file system.
func (d *daemon) sharedDisks() []string {
	on := map[uint64][]string{}
	for _, b := range d.roster.in() {
		if !b.loc.block {
			on[b.inode.dev] = append(on[b.inode.dev], b.loc.path)
		}
	}
	var out []string
	for _, paths := range on {
		if len(paths) > 1 {
			out = append(out, fmt.Sprintf("the drives %s are on one file system: they fail together", strings.Join(paths, ", ")))
		}
	}
	slices.Sort(out)
	return out
}

// metaCopies describes the copies of the metadata.
func (d *daemon) metaCopies() []api.MetaCopy {
	out := []api.MetaCopy{}
	for _, c := range d.meta.store.Copies() {
		out = append(out, api.MetaCopy{
			Dir: c.Dir, Drive: d.candidateOf(c.Dir).Drive, Primary: c.Primary, Filling: c.Filling, Bytes: c.Bytes, Done: c.Done, Faults: c.Faults,
		})
	}
	return out
}

// metric is one line of a page.
type metric struct {
	name  string
	value any
}

// driveMetrics writes the metrics of drives, repair, scrub and metadata copies.
func (d *daemon) driveMetrics(w io.Writer, st *engine.Status) {
	for _, dr := range d.drives(st) {
		d.oneDriveMetrics(w, &dr, st)
	}
	h, s := d.engine.HealStatus(), d.engine.ScrubStatus()
	copies, filling := 0, 0
	for _, c := range d.meta.store.Copies() {
		if c.Filling {
			filling++
		} else {
			copies++
		}
	}
	parity, members := d.engine.Protection()
	for _, m := range []metric{
		{"sluice_drives", members}, {"sluice_parity", parity},
		{"sluice_heal_queue_blobs", h.Queue}, {"sluice_degraded_blobs", h.Degraded}, {"sluice_unhealable_blobs", h.Unhealed}, {"sluice_lost_blobs", h.Lost}, {"sluice_unprotected_blobs", h.Unprotected},
		{"sluice_heal_repaired_fragments_total", h.Repaired}, {"sluice_heal_moved_fragments_total", h.Moved},
		{"sluice_heal_written_bytes_total", h.Bytes}, {"sluice_heal_errors_total", h.Errors},
		{"sluice_scrub_running", flag(s.Running)}, {"sluice_scrub_verified_bytes", s.Bytes}, {"sluice_scrub_bytes", s.Total},
		{"sluice_scrub_corrupt_fragments", s.Corrupt}, {"sluice_scrub_repaired_fragments", s.Repaired}, {"sluice_scrub_failed_fragments", s.Failed},
		{"sluice_metadata_copies", copies}, {"sluice_metadata_copies_filling", filling}, {"sluice_metadata_copies_wanted", d.wantedCopies()},
		{"sluice_metadata_generation", d.meta.home.Generation()},
	} {
		fmt.Fprintf(w, "%s %v\n", m.name, m.value)
	}
	if !s.Finished.IsZero() {
		fmt.Fprintf(w, "sluice_scrub_finished_timestamp_seconds %d\n", s.Finished.Unix())
	}
	d.metaScrub.metrics(w)
	for _, t := range h.Tasks {
		label := fmt.Sprintf("{drive=%q,kind=%q}", t.Drive.String(), t.Kind)
		fmt.Fprintf(w, "sluice_heal_task_bytes%s %d\nsluice_heal_task_done_bytes%s %d\n", label, t.Total, label, t.Done)
	}
}

func flag(on bool) int {
	if on {
		return 1
	}
	return 0
}

func (d *daemon) oneDriveMetrics(w io.Writer, dr *api.Drive, st *engine.Status) {
	name := fmt.Sprintf("drive=%q,path=%q", dr.ID, dr.Path)
	up := dr.State != engine.DriveFailed.String() && dr.State != engine.DriveAbsent.String() && dr.State != engine.DriveAttaching.String()
	lines := []metric{
		{"sluice_drive_up", flag(up)}, {"sluice_drive_total_bytes", dr.Total}, {"sluice_drive_used_bytes", dr.Used}, {"sluice_drive_free_bytes", dr.Free},
		{"sluice_drive_errors_total", dr.Errors}, {"sluice_drive_timeouts_total", dr.Timeouts}, {"sluice_drive_stalls_total", dr.Stalls},
		{"sluice_drive_corrupt_frames_total", dr.Corrupt}, {"sluice_drive_hung_operations", dr.Hung},
	}
	for _, s := range st.Drives {
		if s.ID.String() == dr.ID {
			lines = append(lines, []metric{
				{"sluice_drive_reads_total", s.Stats.Reads}, {"sluice_drive_writes_total", s.Stats.Writes}, {"sluice_drive_syncs_total", s.Stats.Syncs},
				{"sluice_drive_read_bytes_total", s.Stats.ReadBytes}, {"sluice_drive_written_bytes_total", s.Stats.WriteBytes},
				{"sluice_drive_ring_enters_total", s.Stats.Enters}, {"sluice_drive_in_flight", s.Stats.InFlight},
			}...)
		}
	}
	if sm := dr.Smart; sm != nil {
		for n, v := range map[string]*int64{
			"sluice_drive_temperature_celsius": sm.Temperature, "sluice_drive_wear_percent": sm.Wear, "sluice_drive_spare_percent": sm.Spare,
			"sluice_drive_power_on_hours": sm.PowerOnHours, "sluice_drive_media_errors_total": sm.MediaErrors,
		} {
			if v != nil {
				lines = append(lines, metric{n, *v})
			}
		}
		lines = append(lines, metric{"sluice_drive_critical_warnings", len(sm.Critical)})
	}
	for _, m := range lines {
		fmt.Fprintf(w, "%s{%s} %v\n", m.name, name, m.value)
	}
	fmt.Fprintf(w, "sluice_drive_state{%s,state=%q} 1\n", name, dr.State)
	for op, l := range map[string]*api.Latency{"read": dr.Reads, "write": dr.Writes} {
		if l != nil {
			fmt.Fprintf(w, "sluice_drive_latency_seconds{%s,op=%q,quantile=\"0.5\"} %g\n", name, op, l.P50)
			fmt.Fprintf(w, "sluice_drive_latency_seconds{%s,op=%q,quantile=\"0.99\"} %g\n", name, op, l.P99)
		}
	}
}
