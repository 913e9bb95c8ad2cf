package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

// maxCAFile bounds the file of --ca-file, in bytes.
const maxCAFile = 256 << 10

func (a *app) auditCmd() *cobra.Command {
	cmd := group("audit-webhook", "Where S3 requests and administrative actions are reported to")
	cmd.AddCommand(a.auditEnable(), a.auditDisable(), a.auditShow(), a.auditBatch())
	return cmd
}

func (a *app) auditEnable() *cobra.Command {
	var in api.EnableAudit
	var caFile string
	cmd := leaf("enable --endpoint URL --auth-token TOKEN", "Report to a webhook, or change which one", 0, 0, func(cmd *cobra.Command, _ []string) error {
		if in.Endpoint == "" {
			return usageError{fmt.Errorf("--endpoint is needed")}
		}
		var err error
		if !cmd.Flags().Changed("auth-token") {
			if in.AuthToken, err = a.password("Token"); err != nil {
				return err
			}
		}
		if caFile != "" {
			if in.CA, err = readCA(caFile); err != nil {
				return err
			}
		}
		out, err := a.client().EnableAudit(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.showAudit(&out)
	})
	cmd.Long = "Report every S3 request and administrative action, as JSON, to a webhook such as Splunk's HTTP event\n" +
		"collector. The token is sent as it is in the Authorization header: 'Splunk 1234-…' or 'Bearer …'. Left out,\n" +
		"it is asked for on a terminal and read from standard input otherwise; \"\" sends none."
	cmd.Example = "  ctl s3 cluster audit-webhook enable --verify \\\n" +
		"    --endpoint https://splunk.example.com:8088/services/collector/raw --auth-token 'Splunk 2f1c…'"
	cmd.Flags().StringVar(&in.Endpoint, "endpoint", "", "http or https `URL` that events are posted to")
	cmd.Flags().StringVar(&in.AuthToken, "auth-token", "", "`TOKEN` for the Authorization header")
	cmd.Flags().StringVar(&caFile, "ca-file", "", "`FILE` of PEM certificates that https is checked with, in place of the system's")
	cmd.Flags().BoolVar(&in.Verify, "verify", false, "send a test event first, and change nothing if it is not taken")
	return cmd
}

func readCA(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if st.Size() > maxCAFile {
		return "", fmt.Errorf("%s has %d bytes: a file of certificates has %d at most", path, st.Size(), maxCAFile)
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

func (a *app) auditDisable() *cobra.Command {
	var discard bool
	cmd := leaf("disable", "Report nothing more; events that wait are kept for the next enable", 0, 0, func(cmd *cobra.Command, _ []string) error {
		out, err := a.client().DisableAudit(cmd.Context(), discard)
		if err != nil {
			return err
		}
		return a.showAudit(&out)
	})
	cmd.Flags().BoolVar(&discard, "discard", false, "drop the events that wait")
	return cmd
}

func (a *app) auditShow() *cobra.Command {
	return leaf("show", "Show the webhook and how delivery goes", 0, 0, func(cmd *cobra.Command, _ []string) error {
		out, err := a.client().AuditWebhook(cmd.Context())
		if err != nil {
			return err
		}
		return a.showAudit(&out)
	}, "status")
}

func (a *app) auditBatch() *cobra.Command {
	var (
		mode, linger, timeout, size, spool string
		count                              int
	)
	cmd := leaf("batch-config", "Change how events are gathered", 0, 0, func(cmd *cobra.Command, _ []string) error {
		var in api.AuditBatch
		changed, given := cmd.Flags().Changed, false
		for name, to := range map[string]func() error{
			"batch-mode":  func() error { in.Mode = &mode; return nil },
			"batch-count": func() error { in.Count = &count; return nil },
			"batch-time":  func() error { in.Linger = &linger; return nil },
			"timeout":     func() error { in.Timeout = &timeout; return nil },
			"batch-size": func() error {
				n, err := parseSize(size)
				bytes := int(n)
				in.Bytes = &bytes
				return err
			},
			"spool-size": func() error {
				n, err := parseSize(spool)
				in.Spool = &n
				return err
			},
		} {
			if changed(name) {
				given = true
				if err := to(); err != nil {
					return usageError{fmt.Errorf("--%s: %w", name, err)}
				}
			}
		}
		if !given {
			return usageError{fmt.Errorf("nothing to change: give --batch-count, --batch-size, --batch-time, --batch-mode, --timeout or --spool-size")}
		}
		out, err := a.client().ConfigureAuditBatch(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.showAudit(&out)
	})
	f := cmd.Flags()
	f.IntVar(&count, "batch-count", 0, "events per POST, 1 to 10000")
	f.StringVar(&size, "batch-size", "", "`BYTES` per POST, 4KiB to 8MiB")
	f.StringVar(&linger, "batch-time", "", "how long an event waits for others before it is on disk, 10ms to 1m")
	f.StringVar(&mode, "batch-mode", "", "lines (one JSON object per line), array, or off (one event per POST)")
	f.StringVar(&timeout, "timeout", "", "`TIME` that a POST may take, 1s to 2m")
	f.StringVar(&spool, "spool-size", "", "`BYTES` of events that wait on disk at most, 1MiB to 64GiB")
	return cmd
}

// parseSize reads a number of bytes: "4096", "1MiB".
func parseSize(s string) (int64, error) {
	n, err := humanize.ParseBytes(s)
	if err != nil || n > 1<<50 {
		return 0, fmt.Errorf("%q is no size: write 4096, 64KiB or 1GiB", s)
	}
	return int64(n), nil
}

func (a *app) showAudit(h *api.AuditWebhook) error {
	return a.show(h, func(w io.Writer) {
		row(w, "Enabled:", yesNo(h.Enabled))
		row(w, "Endpoint:", h.Endpoint)
		row(w, "Auth token:", h.AuthToken)
		row(w, "Custom CA:", yesNo(h.CA))
		row(w, "Batch:", fmt.Sprintf("%s, at most %d events or %s, within %s", *h.Batch.Mode, *h.Batch.Count,
			humanize.IBytes(uint64(*h.Batch.Bytes)), *h.Batch.Linger))
		row(w, "Timeout:", *h.Batch.Timeout)
		row(w, "Spool:", fmt.Sprintf("%s of %s", humanize.IBytes(uint64(h.SpoolBytes)), humanize.IBytes(uint64(*h.Batch.Spool))))
		row(w, "State:", auditSummary(&h.AuditState))
		if !h.LastOK.IsZero() {
			row(w, "Last delivery:", h.LastOK.Format(time.RFC3339))
		}
		row(w, "Delivered:", h.Delivered)
		row(w, "Failed posts:", h.Retries)
		row(w, "Dropped:", h.Dropped)
		row(w, "Discarded:", h.Discarded)
		row(w, "Damaged:", h.Damaged)
	})
}

// auditSummary says in a line how delivery goes.
func auditSummary(s *api.AuditState) string {
	text := "up"
	if !s.Up {
		text = "DOWN: " + s.Error
	}
	if s.Queued > 0 {
		text += fmt.Sprintf("; %d events wait, the oldest for %s", s.Queued, time.Duration(s.Oldest*float64(time.Second)).Round(time.Second))
	}
	if s.Dropped > 0 {
		text += fmt.Sprintf("; %d DROPPED", s.Dropped)
	}
	return text
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
