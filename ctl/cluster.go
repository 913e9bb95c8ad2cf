package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

func (a *app) clusterCmd() *cobra.Command {
	cmd := group("cluster", "The S3 cluster")
	cmd.AddCommand(a.clusterCreate(), a.clusterStatus(), a.clusterUpdate(), a.clusterDestroy(), a.clusterExport(), a.clusterImport(), a.clusterCheck(), a.auditCmd())
	cmd.AddCommand(a.clusterChoiceCmds()...)
	return cmd
}

func (a *app) clusterCreate() *cobra.Command {
	var in api.CreateCluster
	var all bool
	cmd := leaf("create NAME CONFIG_FS", "Create the S3 cluster on the daemon's drives", 2, 2, func(cmd *cobra.Command, args []string) error {
		in.Name, in.ConfigFS = args[0], args[1]
		c, err := a.client().CreateCluster(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.show(c, func(w io.Writer) { fmt.Fprintf(w, "S3 cluster %s created\n", c.Name) })
	}, "add")
	cmd.Long = "Create the S3 cluster. CONFIG_FS is .config_fs, the configuration namespace made when the first drive was formatted."
	cmd.Flags().BoolVar(&all, "all-servers", true, "run the S3 protocol on every server")
	cmd.Flags().StringSliceVar(&in.Domains, "domain", nil, "base domain of virtual-host style requests (repeatable)")
	cmd.Flags().BoolVar(&in.Encrypted, "encrypted", false, "encrypt metadata and objects; only while there are no buckets")
	clusterParityFlag(cmd, &in.Parity)
	a.performanceFlags(cmd, &in.Standard, ofStandard, false)
	return cmd
}

func (a *app) clusterStatus() *cobra.Command {
	return leaf("status", "Show cluster, endpoint and drives", 0, 0, func(cmd *cobra.Command, _ []string) error {
		st, err := a.client().Status(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(st, func(w io.Writer) { clusterTable(w, &st) })
	}, "show")
}

func clusterTable(w io.Writer, st *api.Status) {
	name, domains := "none (create one with 'ctl s3 cluster create NAME .config_fs')", ""
	if st.Cluster != nil {
		name, domains = st.Cluster.Name, strings.Join(st.Cluster.Domains, ", ")
		row(w, "Cluster:", name)
		row(w, "Config FS:", st.Cluster.ConfigFS)
		row(w, "Region:", st.Cluster.Region)
		row(w, "Domains:", domains)
		row(w, "Encrypted:", yesNo(st.Cluster.Encrypted))
		if text := choiceSummary(st.Cluster); text != "" {
			row(w, "Unless chosen:", text)
		}
	} else {
		row(w, "Cluster:", name)
	}
	ready := "yes"
	if !st.Ready {
		ready = "no"
	}
	row(w, "Ready:", ready)
	row(w, "Endpoint:", strings.Join(st.Listen, ", "))
	row(w, "TLS:", st.TLS)
	row(w, "Buckets:", st.Buckets)
	row(w, "Users:", st.Users)
	if st.Audit != nil {
		row(w, "Audit:", auditSummary(st.Audit))
	}
	if st.Parity != nil {
		row(w, "Parity:", paritySummary(st.Parity))
	}
	row(w, "Metadata:", metaSummary(st))
	row(w, "Version:", st.Version.Version)
	for _, text := range st.Warnings {
		row(w, "Warning:", text)
	}
	fmt.Fprintln(w)
	driveTable(w, st.Drives)
}

// metaSummary says how large the metadata is and where its copies are.
func metaSummary(st *api.Status) string {
	var dirs []string
	for _, c := range st.MetaCopies {
		dir := c.Dir
		if c.Filling {
			dir += " (being made)"
		}
		dirs = append(dirs, dir)
	}
	size := humanize.IBytes(uint64(st.MetaBytes))
	if len(dirs) == 0 {
		return size
	}
	return fmt.Sprintf("%s in %s", size, strings.Join(dirs, ", "))
}

// ofStandard says which buckets the flags of cluster create and update are about.
const ofStandard = ", in all buckets but those of type PERFORMANCE"

func (a *app) clusterUpdate() *cobra.Command {
	var in api.UpdateCluster
	var domains []string
	var parity string
	cmd := leaf("update", "Change the cluster's configuration", 0, 0, func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed("domain") && !cmd.Flags().Changed("parity") && in.Standard == (api.Performance{}) {
			return usageError{fmt.Errorf("nothing to change: give --domain, --parity, --etag-alg or --integrity-mode")}
		}
		if cmd.Flags().Changed("domain") {
			given := []string{}
			for _, d := range domains {
				if d != "" { // --domain "" removes them all
					given = append(given, d)
				}
			}
			in.Domains = &given
		}
		if cmd.Flags().Changed("parity") {
			in.Parity = &parity
		}
		c, err := a.client().UpdateCluster(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.show(c, func(w io.Writer) { fmt.Fprintf(w, "S3 cluster %s updated\n", c.Name) })
	})
	cmd.Flags().StringSliceVar(&domains, "domain", nil, `base domains of virtual-host style requests, replacing the present ones ("": none)`)
	clusterParityFlag(cmd, &parity)
	a.performanceFlags(cmd, &in.Standard, ofStandard, false)
	cmd.AddCommand(a.updatePerformance())
	return cmd
}

func (a *app) clusterDestroy() *cobra.Command {
	var force bool
	cmd := leaf("destroy", "End the S3 service; buckets, objects and users are kept", 0, 0, func(cmd *cobra.Command, _ []string) error {
		if !force && !a.confirm("Clients will get errors until a cluster is created again. Destroy the S3 cluster?") {
			return fmt.Errorf("not destroyed")
		}
		if err := a.client().DestroyCluster(cmd.Context()); err != nil {
			return err
		}
		return a.done("S3 cluster destroyed; buckets, objects and users are kept")
	}, "remove")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not ask")
	return cmd
}
