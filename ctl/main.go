package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// usageError is a mistake of the command line.
type usageError struct{ error }

// app is what every command needs.
type app struct {
	socket string
	json   bool
	in     io.Reader
	out    io.Writer
	err    io.Writer
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{in: in, out: out, err: errOut}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(errOut, "ctl: %v\n", err)
	var usage usageError
	var refusal *api.Error
	switch {
	case errors.As(err, &usage), strings.HasPrefix(err.Error(), "unknown command"):
		fmt.Fprintln(errOut, "Try 'ctl --help'.")
		return 2
	case errors.As(err, &refusal) && refusal.Code == api.CodeUsage:
		return 2
	}
	return 1
}

func (a *app) root() *cobra.Command {
	root := group("ctl", "Administer a Sluice daemon")
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	socket := os.Getenv("SLUICE_SOCKET")
	if socket == "" {
		socket = api.DefaultSocket()
	}
	root.PersistentFlags().StringVar(&a.socket, "socket", socket, "admin socket of the daemon (also $SLUICE_SOCKET)")
	root.PersistentFlags().BoolVarP(&a.json, "json", "J", false, "answer in JSON")
	s3 := group("s3", "The same commands, as WEKA's CLI spells them")
	for _, cmd := range []*cobra.Command{root, s3} {
		cmd.AddCommand(a.clusterCmd(), a.driveCmd(), a.bucketCmd(), a.userCmd(), a.groupCmd(), a.policyCmd(), a.serviceAccountCmd(), a.stsCmd(), a.oidcCmd(), a.limitsCmd())
	}
	root.AddCommand(a.securityCmd(), a.versionCmd(), s3)
	return root
}

// group makes a command that only holds others: without one of them it shows
// help, with an unknown one it fails.
func group(use, short string, aliases ...string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Aliases: aliases,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())}
			}
			return cmd.Help()
		},
	}
}

// leaf makes a command that takes min to max arguments (max < 0: any number).
func leaf(use, short string, min, max int, run func(cmd *cobra.Command, args []string) error, aliases ...string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Aliases: aliases,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < min || (max >= 0 && len(args) > max) {
				return usageError{fmt.Errorf("usage: %s", cmd.UseLine())}
			}
			return nil
		},
		RunE:              run,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
}

func (a *app) client() *api.Client { return api.NewClient(a.socket) }

// show prints v as JSON when asked for, else what table writes.
func (a *app) show(v any, table func(w io.Writer)) error {
	if a.json {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	table(w)
	return w.Flush()
}

// done reports success of a command that has nothing to show.
func (a *app) done(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	return a.show(map[string]string{"status": "ok", "message": text}, func(w io.Writer) { fmt.Fprintln(w, text) })
}

// row writes one line of a table.
func row(w io.Writer, cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		if s, ok := c.(string); ok && s == "" {
			c = "-"
		}
		fmt.Fprint(w, c)
	}
	fmt.Fprintln(w)
}

// completeFlag offers names for the value of a flag, which must have been defined.
func (a *app) completeFlag(cmd *cobra.Command, flag string, names func(ctx context.Context) ([]string, error)) {
	offer := a.complete(0, names)
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return offer(cmd, nil, typed)
	})
	if err != nil {
		panic(err) // no such flag
	}
}

// completeEach offers names for each argument in turn.
func (a *app) completeEach(names ...func(ctx context.Context) ([]string, error)) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(names) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.complete(len(args), names[len(args)])(cmd, args, typed)
	}
}

// complete offers names for the argument at position n.
func (a *app) complete(n int, names func(ctx context.Context) ([]string, error)) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) != n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		found, err := names(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
