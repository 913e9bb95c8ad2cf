package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

// maxPassphrase bounds a passphrase read from a file, in bytes.
const maxPassphrase = 4096

// passphrase reads one from a file ("-": standard input), or asks for it on a
// terminal, twice when it is a new one. Otherwise there is none.
func (a *app) passphrase(file string, isNew bool) (string, error) {
	if file == "" {
		fd, ok := a.terminal()
		if !ok {
			return "", nil
		}
		if !isNew {
			return a.askOnce(fd, "Passphrase of the export")
		}
		return a.password("Passphrase that seals the secrets (empty: leave them out)")
	}
	in := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("passphrase: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxPassphrase+1))
	if err != nil {
		return "", fmt.Errorf("passphrase: %w", err)
	}
	line, rest, _ := bytes.Cut(text, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	switch {
	case len(bytes.TrimSpace(rest)) > 0:
		return "", usageError{errors.New("passphrase: more than one line")}
	case len(line) == 0:
		return "", usageError{errors.New("passphrase: empty")}
	}
	return string(line), nil
}

func (a *app) clusterExport() *cobra.Command {
	var file string
	var without bool
	cmd := leaf("export [FILE]", "Write the configuration to a file, or to standard output", 0, 1, func(cmd *cobra.Command, args []string) error {
		if without && file != "" {
			return usageError{errors.New("give --passphrase-file or --without-secrets, not both")}
		}
		var in api.Export
		if !without {
			var err error
			if in.Passphrase, err = a.passphrase(file, true); err != nil {
				return err
			}
		}
		out, err := a.client().Export(cmd.Context(), in)
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if err := json.Indent(&text, out.Document, "", "  "); err != nil {
			return err
		}
		text.WriteByte('\n')
		for _, note := range out.Notes {
			fmt.Fprintf(a.err, "Note: %s\n", note)
		}
		if len(args) == 0 || args[0] == "-" {
			_, err := a.out.Write(text.Bytes())
			return err
		}
		if err := writeWhole(args[0], text.Bytes()); err != nil {
			return err
		}
		return a.done("Configuration written to %s", args[0])
	})
	cmd.Long = "Write the configuration as one JSON document: the cluster's name, domains and parity, users, groups, policies,\n" +
		"access keys, service accounts, limits, audit, OIDC providers, and buckets with their settings. Secrets are in it\n" +
		"sealed by a passphrase of at least 8 characters, which is asked for on a terminal or read from --passphrase-file;\n" +
		"without one they are left out. Objects are not in it, nor the keys of encrypted ones: these stay with the drives\n" +
		"and the state directory."
	cmd.Flags().StringVar(&file, "passphrase-file", "", "read the passphrase from `FILE` (-: standard input)")
	cmd.Flags().BoolVar(&without, "without-secrets", false, "leave secrets out, and ask for no passphrase")
	cmd.ValidArgsFunction = nil // a file
	return cmd
}

// writeWhole writes a file that nobody else may read, durably and whole or not at all.
func writeWhole(path string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func (a *app) clusterImport() *cobra.Command {
	var file string
	var in api.Import
	cmd := leaf("import FILE", "Bring an exported configuration into this cluster", 1, 1, func(cmd *cobra.Command, args []string) error {
		text, err := a.readExport(args[0], file)
		if err != nil {
			return err
		}
		var head struct {
			Seal json.RawMessage `json:"seal"`
		}
		if err := json.Unmarshal(text, &head); err != nil {
			return fmt.Errorf("%s is no export: %w", args[0], err)
		}
		in.Document = text
		if head.Seal != nil {
			if in.Passphrase, err = a.passphrase(file, false); err != nil {
				return err
			}
			if in.Passphrase == "" {
				return usageError{errors.New("the export holds sealed secrets: give --passphrase-file, or use a terminal")}
			}
		}
		out, err := a.client().Import(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.show(out, func(w io.Writer) { importTable(w, &out) })
	})
	cmd.Long = "Bring what 'ctl cluster export' wrote into this cluster, which may be an empty one. All of it is checked before\n" +
		"the first change. Nothing is ever removed, and what is there already and differs stops the import unless --replace\n" +
		"is given. An import that was interrupted is gone on with by the same command. From an export without secrets, new\n" +
		"users come with a password that nobody knows: set one with 'ctl user passwd'."
	cmd.Flags().StringVar(&file, "passphrase-file", "", "read the passphrase from `FILE` (-: standard input)")
	cmd.Flags().BoolVar(&in.DryRun, "dry-run", false, "show what would be done, and change nothing")
	cmd.Flags().BoolVar(&in.Replace, "replace", false, "put what is imported in the place of what is there and differs")
	cmd.ValidArgsFunction = nil // a file
	return cmd
}

// readExport reads the file, "-": standard input.
func (a *app) readExport(path, passphrase string) ([]byte, error) {
	in := a.in
	switch {
	case path == "-" && passphrase == "-":
		return nil, usageError{errors.New("the export and the passphrase cannot both come from standard input")}
	case path != "-":
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, api.MaxExport+1))
	if err == nil && len(text) > api.MaxExport {
		err = fmt.Errorf("%s is larger than %d MiB: no export", path, api.MaxExport>>20)
	}
	return text, err
}

func importTable(w io.Writer, out *api.Imported) {
	row(w, "KIND", "NAME", "ACTION", "NOTE")
	count := map[string]int{}
	for _, c := range out.Changes {
		count[c.Action]++
		row(w, c.Kind, c.Name, c.Action, c.Note)
	}
	var parts []string
	for _, action := range []string{api.ImportAdd, api.ImportReplace, api.ImportUnchanged, api.ImportConflict} {
		if count[action] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[action], action))
		}
	}
	fmt.Fprintln(w)
	switch {
	case len(parts) == 0:
		fmt.Fprintln(w, "There is nothing in the export")
	case out.DryRun && count[api.ImportConflict] > 0:
		fmt.Fprintf(w, "Nothing was changed. It would not be imported without --replace: %s\n", strings.Join(parts, ", "))
	case out.DryRun:
		fmt.Fprintf(w, "Nothing was changed. It would be: %s\n", strings.Join(parts, ", "))
	default:
		fmt.Fprintf(w, "Imported: %s\n", strings.Join(parts, ", "))
	}
}
