package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

// version is set by the linker.
var version = "dev"

// versions is what "ctl version" answers.
type versions struct {
	Ctl    api.Version  `json:"ctl"`
	Daemon *api.Version `json:"daemon"` // null when no daemon answers
}

func (a *app) versionCmd() *cobra.Command {
	return leaf("version", "Show the versions of ctl and of the daemon", 0, 0, func(cmd *cobra.Command, _ []string) error {
		v := versions{Ctl: api.Version{Version: version, Go: runtime.Version()}}
		st, err := a.client().Status(cmd.Context())
		if err == nil {
			v.Daemon = &st.Version
		}
		return a.show(v, func(w io.Writer) {
			row(w, "ctl:", v.Ctl.Version)
			if v.Daemon == nil {
				row(w, "sluiced:", fmt.Sprintf("unknown (%v)", err))
				return
			}
			row(w, "sluiced:", fmt.Sprintf("%s (format %d)", v.Daemon.Version, v.Daemon.Format))
		})
	})
}
