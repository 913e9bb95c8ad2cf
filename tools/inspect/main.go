package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
)

// errProblems: something was found, and told.
var errProblems = errors.New("problems were found")

// usageError is a mistake of the command line.
type usageError struct{ error }

// options are the flags of all commands.
type options struct {
	stateDir string
	tmp      string
	blob     string
	list     string
	out      string
	quick    bool
	partial  bool
}

// command is what one word stands for.
type command struct {
	usage    string
	min, max int // arguments; max < 0: any number
	run      func(ctx context.Context, w io.Writer, args []string, o *options) error
}

func commands() map[string]command {
	return map[string]command{
		"drive":   {"drive PATH", 1, 1, showDrive},
		"frames":  {"frames PATH [--blob ID]", 1, 1, showFrames},
		"meta":    {"meta DIR [--list buckets|objects|uploads|blobs|documents|deletes|repairs]", 1, 1, showMeta},
		"object":  {"object DIR BUCKET KEY", 3, 3, showObject},
		"check":   {"check DIR DRIVE… [--quick]", 2, -1, check},
		"extract": {"extract DIR DRIVE… BUCKET KEY -o FILE [--partial]", 4, -1, extract},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	err := dispatch(ctx, args, out)
	if err == nil {
		return 0
	}
	fmt.Fprintf(errOut, "inspect: %v\n", err)
	var usage usageError
	if !errors.As(err, &usage) {
		return 1
	}
	for _, name := range []string{"drive", "frames", "meta", "object", "check", "extract"} {
		fmt.Fprintf(errOut, "  inspect %s\n", commands()[name].usage)
	}
	return 2
}

func dispatch(ctx context.Context, args []string, out io.Writer) error {
	var o options
	fs := pflag.NewFlagSet("inspect", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.stateDir, "state-dir", "", "state directory with the keys")
	fs.StringVar(&o.tmp, "tmp", "", "directory for the copy of the metadata")
	fs.StringVar(&o.blob, "blob", "", "only this blob")
	fs.StringVar(&o.list, "list", "", "list these records")
	fs.StringVarP(&o.out, "output", "o", "", "file to write")
	fs.BoolVar(&o.quick, "quick", false, "do not read the frames")
	fs.BoolVar(&o.partial, "partial", false, "leave holes where nothing can be read")
	if err := fs.Parse(args); err != nil {
		return usageError{err}
	}
	args = fs.Args()
	if len(args) == 0 {
		return usageError{errors.New("no command")}
	}
	cmd, ok := commands()[args[0]]
	if args = args[1:]; !ok || len(args) < cmd.min || cmd.max >= 0 && len(args) > cmd.max {
		return usageError{errors.New("unknown command, or a wrong number of arguments")}
	}
	return cmd.run(ctx, out, args, &o)
}
