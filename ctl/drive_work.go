package main

import (
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

func (a *app) healCmd() *cobra.Command {
	cmd := group("heal", "Repair of what has lost redundancy, rebuilds and drains")
	cmd.AddCommand(a.healStatus())
	return cmd
}

func (a *app) healStatus() *cobra.Command {
	cmd := leaf("status", "Show how far repair, rebuilds, drains and rebalance are", 0, 0, func(cmd *cobra.Command, _ []string) error {
		h, err := a.client().Heal(cmd.Context())
		if err != nil {
			return err
		}
		return a.showHeal(&h)
	}, "show")
	cmd.Long = "Show how far repair, rebuilds, drains and rebalance are. 'Degraded' counts the objects' payloads (blobs) that are less\n" +
		"redundant than they should be; 'No drive for' those of them that no drive can be found for until one is added or\n" +
		"comes back; 'Unreadable' those of which too much is gone until a drive comes back. 'Unprotected' are those written when\n" +
		"there was no redundancy to be had: they are spread over the drives in the background. Repair needs no command; while\n" +
		"clients are busy it yields to them."
	return cmd
}

func (a *app) showHeal(h *api.Heal) error {
	return a.show(h, func(w io.Writer) {
		row(w, "Waiting for repair:", h.Queue)
		row(w, "Degraded:", h.Degraded)
		row(w, "No drive for:", h.Unhealed)
		row(w, "Unreadable:", h.Lost)
		row(w, "Unprotected:", h.Unprotected)
		row(w, "Repaired fragments:", h.Repaired)
		row(w, "Moved fragments:", h.Moved)
		row(w, "Written:", humanize.IBytes(h.Bytes))
		row(w, "Errors:", h.Errors)
		if h.LastError != "" {
			row(w, "Last error:", h.LastError)
		}
		fmt.Fprintln(w)
		taskTable(w, h.Tasks)
	})
}

func taskTable(w io.Writer, tasks []api.HealTask) {
	row(w, "TASK", "DRIVE", "PATH", "DONE", "TOTAL", "PROGRESS", "FRAGMENTS LEFT", "RATE", "ETA", "WAITING")
	for _, t := range tasks {
		progress := ""
		if t.Total > 0 {
			progress = fmt.Sprintf("%d%%", 100*t.Done/t.Total)
		}
		rate, eta := "", ""
		if t.Rate > 0 {
			rate = humanize.IBytes(uint64(t.Rate)) + "/s"
		}
		if t.ETA > 0 {
			eta = time.Duration(t.ETA * float64(time.Second)).Round(time.Second).String()
		}
		row(w, t.Kind, short(t.Drive), t.Path, humanize.IBytes(uint64(t.Done)), humanize.IBytes(uint64(t.Total)), progress,
			t.Fragments, rate, eta, t.Waiting)
	}
}

func (a *app) rebalanceCmd() *cobra.Command {
	cmd := group("rebalance", "Moving data from fuller drives to emptier ones")
	for _, c := range []struct {
		use, short string
		on         bool
	}{
		{"start", "Move data from fuller drives to emptier ones, until they are about equally full", true},
		{"stop", "Stop moving data", false},
	} {
		cmd.AddCommand(leaf(c.use, c.short, 0, 0, func(cmd *cobra.Command, _ []string) error {
			h, err := a.client().Rebalance(cmd.Context(), api.Rebalance{Enabled: c.on})
			if err != nil {
				return err
			}
			return a.showHeal(&h)
		}))
	}
	return cmd
}

func (a *app) scrubCmd() *cobra.Command {
	cmd := group("scrub", "Verification of everything that is stored")
	cmd.AddCommand(a.scrubStart(), a.scrubStop(), a.scrubStatus(), a.scrubConfig())
	return cmd
}

func (a *app) showScrub(s *api.Scrub) error {
	return a.show(s, func(w io.Writer) {
		row(w, "Running:", yesNo(s.Running))
		row(w, "Started:", stamp(s.Started))
		row(w, "Finished:", stamp(s.Finished))
		verified := humanize.IBytes(uint64(s.Bytes))
		if s.Total > 0 {
			verified += fmt.Sprintf(" of %s (%d%%)", humanize.IBytes(uint64(s.Total)), min(100, 100*s.Bytes/s.Total))
		}
		row(w, "Verified:", verified)
		row(w, "Objects' payloads:", s.Blobs)
		row(w, "Corrupt fragments:", s.Corrupt)
		row(w, "Mended:", s.Repaired)
		row(w, "Could not be mended:", s.Failed)
		row(w, "Rate:", perSecond(s.Rate))
		row(w, "Period:", period(s.Period))
		row(w, "Least rate:", perSecond(s.MinRate))
		row(w, "Next:", stamp(s.Next))
		if s.Error != "" {
			row(w, "Last error:", s.Error)
		}
		row(w, "Metadata:", metaScrub(&s.Metadata))
	})
}

// metaScrub sums up the verification of the metadata's copies.
func metaScrub(m *api.MetaScrub) string {
	switch {
	case m.Running:
		return "being verified"
	case m.Error != "":
		return m.Error
	case m.Finished.IsZero():
		return ""
	}
	return fmt.Sprintf("%d files, %s verified; %d were damaged in a copy, %d mended", m.Files, humanize.IBytes(uint64(m.Bytes)), m.Differ, m.Repaired)
}

// perSecond is a rate; "": none is set.
func perSecond(n int64) string {
	if n == 0 {
		return ""
	}
	return humanize.IBytes(uint64(n)) + "/s"
}

// period is the period in days where it is days.
func period(text string) string {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return text
	case d == 0:
		return "none: only when asked"
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}

func (a *app) scrubStart() *cobra.Command {
	var rate string
	cmd := leaf("start", "Verify everything from the beginning", 0, 0, func(cmd *cobra.Command, _ []string) error {
		n, err := parseRate(rate)
		if err != nil {
			return usageError{fmt.Errorf("--rate: %w", err)}
		}
		s, err := a.client().StartScrub(cmd.Context(), api.StartScrub{Rate: *n})
		if err != nil {
			return err
		}
		return a.showScrub(&s)
	})
	cmd.Long = "Read and verify everything that is stored, on all drives, and mend what is damaged from the redundancy there is.\n" +
		"Objects can be read and written meanwhile. Without --rate the speed is what the period asks for."
	cmd.Flags().StringVar(&rate, "rate", "0", "`SIZE` to verify per second, such as 200MiB")
	return cmd
}

func (a *app) scrubStop() *cobra.Command {
	return leaf("stop", "End the verification that runs", 0, 0, func(cmd *cobra.Command, _ []string) error {
		s, err := a.client().StopScrub(cmd.Context())
		if err != nil {
			return err
		}
		return a.showScrub(&s)
	})
}

func (a *app) scrubStatus() *cobra.Command {
	return leaf("status", "Show how far the verification is, and what it found", 0, 0, func(cmd *cobra.Command, _ []string) error {
		s, err := a.client().Scrub(cmd.Context())
		if err != nil {
			return err
		}
		return a.showScrub(&s)
	}, "show")
}

func (a *app) scrubConfig() *cobra.Command {
	var every, rate string
	cmd := leaf("config", "Set how often and how fast everything is verified", 0, 0, func(cmd *cobra.Command, _ []string) error {
		var in api.SetScrub
		if cmd.Flags().Changed("period") {
			d, err := duration(every)
			if err != nil && every != "0" && every != "0s" {
				return usageError{fmt.Errorf("--period: %w", err)}
			}
			text := d.String()
			in.Period = &text
		}
		if cmd.Flags().Changed("rate") {
			n, err := parseRate(rate)
			if err != nil {
				return usageError{fmt.Errorf("--rate: %w", err)}
			}
			in.Rate = n
		}
		if in.Period == nil && in.Rate == nil {
			return usageError{fmt.Errorf("nothing to set: give --period or --rate")}
		}
		s, err := a.client().SetScrub(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.showScrub(&s)
	})
	cmd.Long = "Set within which period everything is read and verified once, spread over it, and at least how fast while that runs.\n" +
		"A period of 0 leaves it to 'ctl drive scrub start'. At first the period is 30 days, the rate\n" +
		"16 MiB/s."
	cmd.Example = "  ctl drive scrub config --period 14d --rate 50MiB"
	cmd.Flags().StringVar(&every, "period", "", "`DURATION` such as 30d or 12h; 0: never by itself")
	cmd.Flags().StringVar(&rate, "rate", "0", "`SIZE` to verify per second at least, such as 50MiB; 0: 16MiB")
	return cmd
}
