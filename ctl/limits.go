package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

func (a *app) limitsCmd() *cobra.Command {
	cmd := group("limits", "What each user, and anonymous clients, may ask of the S3 endpoint", "limit")
	cmd.AddCommand(a.limitsShow(), a.limitsSet(), a.limitsReset())
	return cmd
}

func (a *app) showLimits(l api.Limits) error {
	return a.show(l, func(w io.Writer) {
		row(w, "SCOPE", "USER", "REQUESTS/S", "BURST", "CONCURRENCY", "IN/S", "OUT/S", "RUNNING", "REFUSED")
		for _, e := range l.Entries {
			running, refused := "", ""
			if e.Usage != nil {
				running, refused = strconv.FormatInt(e.Usage.Running, 10), strconv.FormatUint(e.Usage.Refused, 10)
			}
			rate := ""
			if r := e.Rates.RequestsPerSecond; r > 0 {
				rate = strconv.FormatFloat(r, 'f', -1, 64)
			}
			row(w, e.Scope, e.User, rate, limitCount(e.Rates.Burst), limitCount(e.Rates.Concurrency),
				limitBytes(e.Rates.InBytes), limitBytes(e.Rates.OutBytes), running, refused)
		}
	})
}

func limitCount(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func limitBytes(n int64) string {
	if n == 0 {
		return ""
	}
	return humanize.IBytes(uint64(n))
}

func (a *app) limitsShow() *cobra.Command {
	return leaf("show", "Show the limits in force and how much of them is used", 0, 0, func(cmd *cobra.Command, _ []string) error {
		l, err := a.client().Limits(cmd.Context())
		if err != nil {
			return err
		}
		return a.showLimits(l)
	}, "list", "ls", "status")
}

// limitScope holds the flags that say whose limits are meant.
type limitScope struct {
	user                 string
	anonymous, byDefault bool
}

func (s *limitScope) flags(a *app, cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.user, "user", "", "of this user; its service accounts and sessions count as the user")
	cmd.Flags().BoolVar(&s.anonymous, "anonymous", false, "of unsigned requests, together")
	cmd.Flags().BoolVar(&s.byDefault, "default", false, "of each user that has no limits of its own")
	if err := cmd.RegisterFlagCompletionFunc("user", a.complete(0, a.userNames)); err != nil {
		panic(err) // the flag was defined above
	}
}

// change begins the request. Exactly one scope must be given.
func (s *limitScope) change() (in api.SetLimits, err error) {
	given := 0
	if s.user != "" {
		given, in.Scope, in.User = given+1, api.ScopeUser, s.user
	}
	if s.anonymous {
		given, in.Scope = given+1, api.ScopeAnonymous
	}
	if s.byDefault {
		given, in.Scope = given+1, api.ScopeDefault
	}
	if given != 1 {
		return in, usageError{fmt.Errorf("give one of --user NAME, --anonymous and --default")}
	}
	return in, nil
}

func (a *app) limitsSet() *cobra.Command {
	var scope limitScope
	var rate float64
	var burst, concurrency int64
	var in, out string
	cmd := leaf("set", "Set limits; they are in force for the next request", 0, 0, func(cmd *cobra.Command, _ []string) error {
		change, err := scope.change()
		if err != nil {
			return err
		}
		set := false
		for name, apply := range map[string]func() error{
			"requests-per-second":  func() error { change.RequestsPerSecond = &rate; return nil },
			"burst":                func() error { change.Burst = &burst; return nil },
			"concurrency":          func() error { change.Concurrency = &concurrency; return nil },
			"in-bytes-per-second":  func() (err error) { change.InBytes, err = parseRate(in); return err },
			"out-bytes-per-second": func() (err error) { change.OutBytes, err = parseRate(out); return err },
		} {
			if !cmd.Flags().Changed(name) {
				continue
			}
			set = true
			if err := apply(); err != nil {
				return usageError{fmt.Errorf("--%s: %w", name, err)}
			}
		}
		if !set {
			return usageError{fmt.Errorf("nothing to set: give a limit, such as --requests-per-second or --concurrency")}
		}
		l, err := a.client().SetLimits(cmd.Context(), change)
		if err != nil {
			return err
		}
		return a.showLimits(l)
	})
	cmd.Long = "Set limits of a user, of each user that has none of its own (--default), or of unsigned requests together\n" +
		"(--anonymous). What is not given stays as it is; 0 lifts a limit. A user's own limits replace the default.\n" +
		"Requests beyond a limit are answered 503 SlowDown with Retry-After; transfers are slowed down to their rate."
	scope.flags(a, cmd)
	f := cmd.Flags()
	f.Float64Var(&rate, "requests-per-second", 0, "requests per second, over longer times")
	f.Int64Var(&burst, "burst", 0, "requests at once; 0: those of one second")
	f.Int64Var(&concurrency, "concurrency", 0, "requests in flight")
	f.StringVar(&in, "in-bytes-per-second", "0", "`SIZE` received per second, such as 10MiB")
	f.StringVar(&out, "out-bytes-per-second", "0", "`SIZE` sent per second")
	return cmd
}

func parseRate(text string) (*int64, error) {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > 1<<50 {
		return nil, fmt.Errorf("%q is no size (say 10MiB)", text)
	}
	out := int64(n)
	return &out, nil
}

func (a *app) limitsReset() *cobra.Command {
	var scope limitScope
	cmd := leaf("reset", "Lift limits; a user returns to the default", 0, 0, func(cmd *cobra.Command, _ []string) error {
		change, err := scope.change()
		if err != nil {
			return err
		}
		change.Reset = true
		l, err := a.client().SetLimits(cmd.Context(), change)
		if err != nil {
			return err
		}
		return a.showLimits(l)
	}, "unset")
	scope.flags(a, cmd)
	return cmd
}
