package main

import (
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

func (a *app) kmsCmd() *cobra.Command {
	cmd := group("kms", "The keys that encryption at rest rests on")
	cmd.AddCommand(a.kmsSet(), a.kmsStatus(), a.kmsRotate(), a.kmsCreateKey())
	return cmd
}

func (a *app) kmsSet() *cobra.Command {
	var in api.SetKMS
	var token bool
	cmd := leaf("set --backend local|vault", "Choose where the key-encryption keys are", 0, 0, func(cmd *cobra.Command, _ []string) error {
		if in.Backend == "" {
			return usageError{fmt.Errorf("give --backend local or --backend vault")}
		}
		for _, path := range []*string{&in.KeyFile, &in.TokenFile, &in.CAFile} {
			if *path == "" {
				continue
			}
			abs, err := filepath.Abs(*path) // the daemon runs elsewhere
			if err != nil {
				return err
			}
			*path = abs
		}
		if token {
			var err error
			if in.Token, err = a.password("Token"); err != nil {
				return err
			}
		}
		st, err := a.client().SetKMS(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.showKMS(&st)
	})
	cmd.Long = "Choose where the key-encryption keys are: in a file on this server (local), or in the transit engine of a\n" +
		"HashiCorp-Vault-compatible server (vault). What is encrypted already stays readable: its keys are unwrapped with\n" +
		"the present backend and wrapped by the new one. No object is rewritten. A change that was cut short is completed\n" +
		"by the same command, or taken back by setting the old backend; until then both must be reachable."
	f := cmd.Flags()
	f.StringVar(&in.Backend, "backend", "", "local or vault")
	f.StringVar(&in.KeyFile, "key-file", "", "local: file of key-encryption keys (default kek.keys in the state directory)")
	f.StringVar(&in.KeyName, "key-name", "", "name of the default key (default sluice); in a vault it must exist")
	f.StringVar(&in.Address, "address", "", "vault: https://HOST:PORT")
	f.StringVar(&in.Mount, "mount", "", "vault: path of the transit engine (default transit)")
	f.StringVar(&in.Namespace, "namespace", "", "vault: namespace")
	f.StringVar(&in.CAFile, "ca-file", "", "vault: PEM file of the authorities to trust (default: the system's)")
	f.StringVar(&in.TokenFile, "token-file", "", "vault: file with the token, read again for every request")
	f.BoolVar(&token, "token", false, "vault: ask for the token, or read it from standard input, and have the daemon keep it")
	return cmd
}

func (a *app) kmsStatus() *cobra.Command {
	return leaf("status", "Show where the keys are and whether they work", 0, 0, func(cmd *cobra.Command, _ []string) error {
		st, err := a.client().KMS(cmd.Context())
		if err != nil {
			return err
		}
		return a.showKMS(&st)
	}, "show")
}

func (a *app) kmsRotate() *cobra.Command {
	return leaf("rotate", "Make new versions of the keys and rewrap what they wrap; no object is rewritten", 0, 0, func(cmd *cobra.Command, _ []string) error {
		st, err := a.client().RotateKMS(cmd.Context())
		if err != nil {
			return err
		}
		return a.showKMS(&st)
	}, "rewrap")
}

func (a *app) kmsCreateKey() *cobra.Command {
	return leaf("create-key NAME", "Make a named key, for SSE-KMS; one that exists is left as it is", 1, 1, func(cmd *cobra.Command, args []string) error {
		if _, err := a.client().CreateKMSKey(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.done("Key %s is there", args[0])
	})
}

func (a *app) showKMS(st *api.KMS) error {
	return a.show(st, func(w io.Writer) {
		row(w, "Backend:", st.Backend)
		row(w, "Address:", st.Address)
		if st.Backend == "vault" {
			row(w, "Mount:", st.Mount)
			row(w, "Namespace:", st.Namespace)
			row(w, "Token:", st.Token)
			row(w, "CA file:", st.CAFile)
		}
		version := fmt.Sprint(st.Version)
		if st.Version == 0 {
			version = "none yet"
		}
		row(w, "Key:", st.Key)
		row(w, "Version:", version)
		health := "ok"
		if !st.Healthy {
			health = "FAILED: " + st.Error
		}
		row(w, "Health:", health)
		if st.Changing != "" {
			row(w, "Changing to:", st.Changing+" (not complete: repeat 'ctl security kms set', or set the old backend)")
		}
		row(w, "Metadata encrypted:", yesNo(st.MetadataEncrypted))
		if len(st.RingKeys) == 0 {
			return
		}
		fmt.Fprintln(w)
		row(w, "RING KEY", "KMS KEY", "CREATED", "CURRENT", "LOADED", "ERROR")
		for _, k := range st.RingKeys {
			row(w, k.ID, k.KMSKey, k.Created.Format(time.RFC3339), yesNo(k.Current), yesNo(k.Loaded), k.Error)
		}
	})
}
