package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

func (a *app) securityCmd() *cobra.Command {
	tls := group("tls", "The certificate of the S3 endpoint")
	tls.AddCommand(a.tlsDownload(), a.tlsStatus(), a.tlsSet(), a.tlsUnset())
	cmd := group("security", "TLS and key management")
	cmd.AddCommand(tls, a.kmsCmd())
	return cmd
}

func (a *app) tlsDownload() *cobra.Command {
	cmd := leaf("download [FILE]", "Write the certificate, in PEM, to FILE or standard output", 0, 1, func(cmd *cobra.Command, args []string) error {
		t, err := a.client().TLS(cmd.Context())
		if err != nil {
			return err
		}
		if len(args) == 0 || args[0] == "-" {
			if a.json {
				return a.show(t, nil)
			}
			_, err := io.WriteString(a.out, t.Certificate)
			return err
		}
		if err := os.WriteFile(args[0], []byte(t.Certificate), 0o644); err != nil {
			return err
		}
		return a.done("Certificate written to %s", args[0])
	})
	cmd.ValidArgsFunction = nil // file names
	return cmd
}

func (a *app) showTLS(t api.TLS) error {
	return a.show(t, func(w io.Writer) {
		row(w, "Mode:", t.Mode)
		row(w, "Certificate:", t.Source)
		row(w, "Subject:", t.Subject)
		row(w, "Names:", strings.Join(t.Names, ", "))
		row(w, "Valid from:", t.NotBefore.Format(time.RFC3339))
		row(w, "Valid until:", t.NotAfter.Format(time.RFC3339)+" ("+validFor(time.Until(t.NotAfter))+")")
		row(w, "SHA-256:", t.Fingerprint)
		if t.ClientAuth != "" {
			row(w, "Client certificates:", t.ClientAuth)
		}
	})
}

// validFor says how long a certificate has left.
func validFor(left time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case left <= 0:
		return "EXPIRED"
	case left <= day:
		return "EXPIRES within a day"
	case left <= 30*day:
		return fmt.Sprintf("EXPIRES in %d days", left/day)
	}
	return fmt.Sprintf("%d days left", left/day)
}

func (a *app) tlsStatus() *cobra.Command {
	return leaf("status", "Show the certificate in use", 0, 0, func(cmd *cobra.Command, _ []string) error {
		t, err := a.client().TLS(cmd.Context())
		if err != nil {
			return err
		}
		return a.showTLS(t)
	}, "show")
}

func (a *app) tlsSet() *cobra.Command {
	var crt, key string
	cmd := leaf("set --certificate FILE --private-key FILE", "Use a certificate of your own", 0, 0, func(cmd *cobra.Command, _ []string) error {
		if crt == "" || key == "" {
			return usageError{fmt.Errorf("both --certificate and --private-key are needed")}
		}
		crtPEM, err := os.ReadFile(crt)
		if err != nil {
			return err
		}
		keyPEM, err := os.ReadFile(key)
		if err != nil {
			return err
		}
		t, err := a.client().SetTLS(cmd.Context(), api.SetTLS{Certificate: string(crtPEM), PrivateKey: string(keyPEM)})
		if err != nil {
			return err
		}
		return a.showTLS(t)
	})
	cmd.Flags().StringVar(&crt, "certificate", "", "PEM file of the certificate chain")
	cmd.Flags().StringVar(&key, "private-key", "", "PEM file of the private key")
	return cmd
}

func (a *app) tlsUnset() *cobra.Command {
	return leaf("unset", "Return to the auto-generated certificate", 0, 0, func(cmd *cobra.Command, _ []string) error {
		t, err := a.client().UnsetTLS(cmd.Context())
		if err != nil {
			return err
		}
		return a.showTLS(t)
	})
}
