package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

func (a *app) stsCmd() *cobra.Command {
	cmd := group("sts", "Temporary credentials")
	cmd.AddCommand(a.stsAssumeRole(), a.stsRevoke())
	return cmd
}

func (a *app) stsAssumeRole() *cobra.Command {
	var (
		in               api.AssumeRole
		policyFile, life string
	)
	cmd := leaf("assume-role", "Make temporary credentials of a user or a service account", 0, 0, func(cmd *cobra.Command, _ []string) error {
		d, err := duration(life)
		if err == nil && (d < 15*time.Minute || d > 7*24*time.Hour) {
			err = errors.New("from 15m to 1w")
		}
		if err != nil {
			return usageError{fmt.Errorf("--duration %s: %w", life, err)}
		}
		in.Seconds = int64(d / time.Second)
		if in.Policy, err = a.document(policyFile); err != nil {
			return err
		}
		out, err := a.client().AssumeRole(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.show(out, func(w io.Writer) {
			row(w, "Access key:", out.AccessKey)
			row(w, "Secret key:", out.SecretKey)
			row(w, "Session token:", out.SessionToken)
			row(w, "Expires:", out.Expires.Format(time.RFC3339))
		})
	})
	cmd.Long = "Make temporary credentials that may do what the user (or service account) of an access key may do and,\n" +
		"with --policy-file, only as much of that as the policy allows."
	cmd.Flags().StringVar(&in.AccessKey, "access-key", "", "whose credentials (an S3 user's name, or an access key; the only S3 user, when left out)")
	cmd.Flags().StringVar(&life, "duration", "1h", "how long they last, 15m to 1w")
	cmd.Flags().StringVar(&policyFile, "policy-file", "", "narrow them by the policy in this `FILE` (-: standard input)")
	cmd.Flags().StringVar(&in.Session, "session-name", "", "name of the session, for policies and the audit log")
	// WEKA's form gives the secret, too. Who may use the admin socket needs none.
	cmd.Flags().String("secret-key", "", "not needed, and not looked at")
	a.completeFlag(cmd, "access-key", a.userNames)
	return cmd
}

func (a *app) stsRevoke() *cobra.Command {
	var all bool
	cmd := leaf("revoke [USER]", "End the sessions of a user", 0, 1, func(cmd *cobra.Command, args []string) error {
		if (len(args) == 1) == all {
			return usageError{fmt.Errorf("name a user, or give --all")}
		}
		if err := a.client().RevokeSessions(cmd.Context(), at(args, 0)); err != nil {
			return err
		}
		if all {
			return a.done("All sessions ended")
		}
		return a.done("Sessions of %s ended", args[0])
	})
	cmd.Flags().BoolVar(&all, "all", false, "end the sessions of everybody, web identities included")
	cmd.ValidArgsFunction = a.complete(0, a.userNames)
	return cmd
}

func (a *app) oidcCmd() *cobra.Command {
	cmd := group("oidc", "OpenID Connect providers for AssumeRoleWithWebIdentity")
	cmd.AddCommand(a.oidcAdd(), a.oidcList(), a.oidcRemove())
	return cmd
}

func (a *app) oidcAdd() *cobra.Command {
	var (
		in     api.OIDCProvider
		caFile string
	)
	cmd := leaf("add NAME --issuer URL --client-id ID", "Add or replace a provider", 1, 1, func(cmd *cobra.Command, args []string) error {
		in.Name = args[0]
		if in.Issuer == "" || len(in.ClientIDs) == 0 {
			return usageError{errors.New("both --issuer and --client-id are needed")}
		}
		if caFile != "" {
			pem, err := os.ReadFile(caFile)
			if err != nil {
				return err
			}
			in.CA = string(pem)
		}
		out, err := a.client().SetOIDCProvider(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.show(out, func(w io.Writer) { fmt.Fprintf(w, "Provider %s added: %s\n", out.Name, out.Issuer) })
	}, "set")
	cmd.Long = "Add an OpenID Connect provider. Its ID tokens get temporary credentials by AssumeRoleWithWebIdentity. The\n" +
		"claim named by --claim lists the policies (of 'ctl policy list') that the credentials have."
	cmd.Flags().StringVar(&in.Issuer, "issuer", "", "issuer `URL` (https)")
	cmd.Flags().StringSliceVar(&in.ClientIDs, "client-id", nil, "accepted audience (repeatable)")
	cmd.Flags().StringVar(&in.Claim, "claim", "policy", "claim that names policies")
	cmd.Flags().StringVar(&caFile, "ca-file", "", "PEM `FILE` of the roots to trust in place of the system's")
	return cmd
}

func (a *app) oidcList() *cobra.Command {
	return leaf("list", "List providers", 0, 0, func(cmd *cobra.Command, _ []string) error {
		list, err := a.client().OIDCProviders(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(list, func(w io.Writer) {
			row(w, "NAME", "ISSUER", "CLIENT IDS", "CLAIM")
			for _, p := range list {
				row(w, p.Name, p.Issuer, strings.Join(p.ClientIDs, ","), p.Claim)
			}
		})
	}, "ls")
}

func (a *app) oidcRemove() *cobra.Command {
	cmd := leaf("remove NAME", "Remove a provider; sessions it gave last until they expire", 1, 1, func(cmd *cobra.Command, args []string) error {
		if err := a.client().RemoveOIDCProvider(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.done("Provider %s removed", args[0])
	}, "delete", "rm")
	cmd.ValidArgsFunction = a.complete(0, a.providerNames)
	return cmd
}

func (a *app) providerNames(ctx context.Context) ([]string, error) {
	list, err := a.client().OIDCProviders(ctx)
	names := make([]string, 0, len(list))
	for _, p := range list {
		names = append(names, p.Name)
	}
	return names, err
}
