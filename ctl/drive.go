package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

func (a *app) driveCmd() *cobra.Command {
	cmd := group("drive", "The drives that objects are on", "drives")
	cmd.AddCommand(a.driveList(), a.driveShow(), a.driveAdd(), a.driveRemove(), a.driveReplace(), a.healCmd(), a.rebalanceCmd(), a.scrubCmd())
	cmd.Long = "The drives that objects are on. A drive is named by its id, by the beginning of its id, or by its path."
	return cmd
}

// driveNames offers ids and paths for completion.
func (a *app) driveNames(ctx context.Context) ([]string, error) {
	drives, err := a.client().Drives(ctx)
	names := make([]string, 0, 2*len(drives))
	for _, d := range drives {
		names = append(names, short(d.ID)+"\t"+d.Path+", "+d.State, d.Path+"\t"+d.State)
	}
	return names, err
}

// short is the beginning of an id, as tables show it.
func short(id string) string { return id[:min(8, len(id))] }

func (a *app) driveList() *cobra.Command {
	cmd := leaf("list", "List the drives", 0, 0, func(cmd *cobra.Command, _ []string) error {
		drives, err := a.client().Drives(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(drives, func(w io.Writer) { driveTable(w, drives) })
	}, "ls", "status")
	cmd.Long = "List the drives. STATE is one of:\n" +
		"  active     in use\n" +
		"  suspect    had errors or was slow lately; used where the others do not suffice\n" +
		"  read-only  takes no writes any more, is still read\n" +
		"  failed     was taken out of service; tried again from time to time\n" +
		"  absent     belongs to the cluster and is not there\n" +
		"  attaching  on its way into service\n" +
		"  draining   everything is moved off it, then it leaves the cluster\n" +
		"  replaced   its content is made anew on the drive that takes its place\n" +
		"ERRORS are operations that the device refused since it was opened. LATENCY is the median and the 99th percentile\n" +
		"of the last minute. TEMP and WEAR (of the life the maker expects) are what the device tells of itself; '-' where\n" +
		"it does not, or where the daemon has no right to ask."
	return cmd
}

func driveTable(w io.Writer, drives []api.Drive) {
	row(w, "ID", "PATH", "STATE", "SIZE", "USED", "ERRORS", "READ P50/P99", "WRITE P50/P99", "TEMP", "WEAR")
	for _, d := range drives {
		temp, wear := "", ""
		if d.Smart != nil {
			temp, wear = unit(d.Smart.Temperature, " °C"), unit(d.Smart.Wear, " %")
		}
		row(w, short(d.ID), d.Path, driveState(&d), sizeOf(d.Total), sizeOf(d.Used), d.Errors, latency(d.Reads), latency(d.Writes), temp, wear)
	}
	for _, d := range drives {
		if d.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", d.Path, d.Error)
		}
		if d.Task != nil && d.Task.Waiting != "" {
			fmt.Fprintf(w, "%s waits: %s\n", d.Path, d.Task.Waiting)
		}
	}
}

// driveState is the state, with how far the work on it is.
func driveState(d *api.Drive) string {
	if d.Task == nil || d.Task.Total == 0 {
		return d.State
	}
	return fmt.Sprintf("%s %d%%", d.State, 100*d.Task.Done/d.Task.Total)
}

// sizeOf is a size; "": none is known, as of a drive that is not there.
func sizeOf(n int64) string {
	if n == 0 {
		return ""
	}
	return humanize.IBytes(uint64(n))
}

func unit(n *int64, of string) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10) + of
}

func latency(l *api.Latency) string {
	if l == nil {
		return ""
	}
	return seconds(l.P50) + "/" + seconds(l.P99)
}

// seconds is a time in a unit that fits.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

func (a *app) driveShow() *cobra.Command {
	cmd := leaf("show DRIVE", "Show everything about a drive", 1, 1, func(cmd *cobra.Command, args []string) error {
		d, err := a.client().Drive(cmd.Context(), driveArg(args[0]))
		if err != nil {
			return err
		}
		return a.show(d, func(w io.Writer) { driveDetails(w, &d) })
	})
	cmd.ValidArgsFunction = a.complete(0, a.driveNames)
	return cmd
}

// driveArg makes a path absolute; ids stay as they are.
func driveArg(name string) string {
	if strings.ContainsRune(name, filepath.Separator) {
		if abs, err := filepath.Abs(name); err == nil {
			return abs
		}
	}
	return name
}

func driveDetails(w io.Writer, d *api.Drive) {
	row(w, "ID:", d.ID)
	row(w, "Path:", d.Path)
	row(w, "Kind:", d.Kind)
	row(w, "State:", driveState(d))
	if d.Error != "" {
		row(w, "Reason:", d.Error)
		row(w, "Since:", stamp(d.Since))
	}
	if d.Successor != "" {
		row(w, "Successor:", d.Successor)
	}
	row(w, "Added:", stamp(d.Added))
	row(w, "Size:", sizeOf(d.Total))
	row(w, "Used:", sizeOf(d.Used))
	row(w, "Free:", sizeOf(d.Free))
	row(w, "Metadata:", d.Metadata)
	row(w, "I/O:", fmt.Sprintf("%s, direct %s, registered buffers %s", d.Backend, yesNo(d.Direct), yesNo(d.Registered)))
	for _, l := range []struct {
		name string
		l    *api.Latency
	}{{"Reads:", d.Reads}, {"Writes:", d.Writes}} {
		text := ""
		if l.l != nil {
			text = fmt.Sprintf("%d in the last minute; p50 %s, p99 %s, slowest %s", l.l.Count, seconds(l.l.P50), seconds(l.l.P99), seconds(l.l.Max))
		}
		row(w, l.name, text)
	}
	row(w, "Errors:", d.Errors)
	row(w, "Timeouts:", d.Timeouts)
	row(w, "Stalls:", d.Stalls)
	row(w, "Corrupt frames:", d.Corrupt)
	row(w, "Hung operations:", d.Hung)
	if s := d.Smart; s != nil {
		row(w, "Device:", s.Device)
		row(w, "Model:", s.Model)
		row(w, "Serial number:", s.Serial)
		row(w, "Temperature:", unit(s.Temperature, " °C"))
		row(w, "Wear:", unit(s.Wear, " %"))
		row(w, "Spare blocks left:", unit(s.Spare, " %"))
		row(w, "Power-on hours:", unit(s.PowerOnHours, ""))
		row(w, "Media errors:", unit(s.MediaErrors, ""))
		row(w, "Warnings of the device:", strings.Join(s.Critical, ", "))
	}
	if d.Task != nil {
		fmt.Fprintln(w)
		taskTable(w, []api.HealTask{*d.Task})
	}
}

// stamp is a time of day; "": never.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

func (a *app) driveAdd() *cobra.Command {
	var in api.AddDrive
	cmd := leaf("add PATH", "Take a drive into the cluster", 1, 1, func(cmd *cobra.Command, args []string) error {
		var err error
		if in.Path, err = filepath.Abs(args[0]); err != nil {
			return err
		}
		d, err := a.client().AddDrive(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.show(d, func(w io.Writer) { fmt.Fprintf(w, "drive %s (%s) is %s\n", short(d.ID), d.Path, d.State) })
	})
	cmd.Long = "Take a drive into the cluster: an empty or absent directory, or a blank block device, which is formatted. A drive\n" +
		"of the cluster that was taken out of service, or removed earlier, is taken back. It stays in the cluster across\n" +
		"restarts, whether or not --drive names it; a block device that only root may open has to be named there, though,\n" +
		"when the daemon runs with --user. New objects use the drive at once; --rebalance also moves there what is\n" +
		"on the others, until all are about equally full."
	cmd.Example = "  ctl drive add /mnt/nvme4 --rebalance"
	cmd.Flags().BoolVar(&in.Rebalance, "rebalance", false, "move data from fuller drives to emptier ones")
	cmd.ValidArgsFunction = nil
	return cmd
}

func (a *app) driveRemove() *cobra.Command {
	var in api.RemoveDrive
	cmd := leaf("remove DRIVE", "Move everything off a drive and take it out of the cluster", 1, 1, func(cmd *cobra.Command, args []string) error {
		d, err := a.client().RemoveDrive(cmd.Context(), driveArg(args[0]), in)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("drive %s (%s) is being drained; 'ctl drive list' shows how far that is, and when it is no longer listed, it can be pulled", short(d.ID), d.Path)
		if in.Cancel {
			text = fmt.Sprintf("drive %s (%s) stays", short(d.ID), d.Path)
		}
		return a.show(d, func(w io.Writer) { fmt.Fprintln(w, text) })
	}, "rm")
	cmd.Long = "Move everything off a drive, which may also be failed or absent, and then take it out of the cluster. That goes on\n" +
		"in the background and across restarts; objects can be read and written meanwhile. Take the drive out of --drive,\n" +
		"too. Objects that are spread over all drives are written anew over the others, which needs room for them. It is\n" +
		"refused where the other drives are too few for the parity, or too full: add one first, or use 'ctl drive replace'.\n" +
		"With --force what can be moved is moved, and the drive waits with the rest."
	cmd.Flags().BoolVar(&in.Force, "force", false, "even if the other drives are too few for the redundancy that is asked for, or too full")
	cmd.Flags().BoolVar(&in.Cancel, "cancel", false, "keep the drive after all")
	cmd.MarkFlagsMutuallyExclusive("force", "cancel")
	cmd.ValidArgsFunction = a.complete(0, a.driveNames)
	return cmd
}

func (a *app) driveReplace() *cobra.Command {
	cmd := leaf("replace DRIVE PATH", "Have a new drive take the place of another", 2, 2, func(cmd *cobra.Command, args []string) error {
		path, err := filepath.Abs(args[1])
		if err != nil {
			return err
		}
		d, err := a.client().ReplaceDrive(cmd.Context(), driveArg(args[0]), api.ReplaceDrive{Path: path})
		if err != nil {
			return err
		}
		return a.show(d, func(w io.Writer) {
			fmt.Fprintf(w, "drive %s (%s) takes over; 'ctl drive heal status' shows how far the rebuild is\n", short(d.ID), d.Path)
		})
	})
	cmd.Long = "Have a new drive at PATH take the place of a drive, which may be in service, failed or lost. What was on it is made\n" +
		"anew on the new one, from the drive itself where it can be read and from the others where not. That goes on in the\n" +
		"background and across restarts. PATH may be where the old drive was. The old drive leaves the cluster when\n" +
		"nothing on it is needed any more."
	cmd.Example = "  ctl drive replace 5f0c9a1e /mnt/nvme2"
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 1 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return a.complete(0, a.driveNames)(cmd, args, typed)
	}
	return cmd
}
