package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

func (a *app) serviceAccountCmd() *cobra.Command {
	cmd := group("service-account", "Service accounts: credentials of programs that act for an S3 user", "service-accounts")
	cmd.Long = "Service accounts are credentials of programs that act for an S3 user. Commands take a service account's\n" +
		"id or any of its access keys."
	keys := group("key", "Access keys of a service account")
	keys.AddCommand(a.keyRemove(), a.keyEnable(true), a.keyEnable(false))
	for _, c := range keys.Commands() {
		c.ValidArgsFunction = a.complete(0, a.accountKeys)
	}
	cmd.AddCommand(a.accountAdd(), a.accountList(), a.accountShow(), a.accountRemove(),
		a.accountEnable(true), a.accountEnable(false), a.accountPolicy(), a.accountRotate(), keys)
	for _, c := range cmd.Commands() {
		if strings.Contains(c.Use, "ACCESS_KEY") && c.ValidArgsFunction != nil {
			c.ValidArgsFunction = a.complete(0, a.accountKeys)
		}
	}
	return cmd
}

func (a *app) accountAdd() *cobra.Command {
	var (
		in                 api.CreateServiceAccount
		policyFile, expire string
	)
	cmd := leaf("add [USER]", "Add a service account to an S3 user (the only one, when left out)", 0, 1, func(cmd *cobra.Command, args []string) error {
		in.Owner = at(args, 0)
		var err error
		if in.Policy, err = a.document(policyFile); err != nil {
			return err
		}
		if in.Expires, err = expiry(expire, time.Now()); err != nil {
			return err
		}
		out, err := a.client().CreateServiceAccount(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.show(out, func(w io.Writer) { showSecret(w, out.AccessKey, out.SecretKey) })
	}, "create")
	cmd.Long = "Add a service account. It may do what its user may do and, with --policy-file, only as much of that as\n" +
		"the policy allows. It ends with its user."
	cmd.Flags().StringVar(&in.Name, "name", "", "what it is for")
	cmd.Flags().StringVar(&policyFile, "policy-file", "", "narrow it by the policy in this `FILE` (-: standard input)")
	cmd.Flags().StringVar(&expire, "expiry", "never", "when it ends: 12h, 30d, a time such as 2030-01-31T00:00:00Z, or never")
	cmd.ValidArgsFunction = a.complete(0, a.userNames)
	return cmd
}

func (a *app) accountList() *cobra.Command {
	var owner string
	cmd := leaf("list", "List service accounts", 0, 0, func(cmd *cobra.Command, _ []string) error {
		list, err := a.client().ServiceAccounts(cmd.Context(), owner)
		if err != nil {
			return err
		}
		return a.show(list, func(w io.Writer) {
			row(w, "ID", "USER", "NAME", "ACCESS KEYS", "POLICY", "STATE", "EXPIRES")
			for _, s := range list {
				keys := make([]string, 0, len(s.Keys))
				for _, k := range s.Keys {
					keys = append(keys, k.AccessKey)
				}
				row(w, s.ID, s.Owner, s.Name, strings.Join(keys, ","), narrowed(&s), state(s.Enabled), until(s.Expires))
			}
		})
	}, "ls")
	cmd.Flags().StringVar(&owner, "user", "", "those of this user only")
	a.completeFlag(cmd, "user", a.userNames)
	return cmd
}

// accountKeys are the access keys of all service accounts.
func (a *app) accountKeys(ctx context.Context) ([]string, error) {
	list, err := a.client().ServiceAccounts(ctx, "")
	var keys []string
	for _, s := range list {
		for _, k := range s.Keys {
			keys = append(keys, k.AccessKey)
		}
	}
	return keys, err
}

func narrowed(s *api.ServiceAccount) string {
	if s.Policy == "" {
		return "inherited"
	}
	return "narrowed"
}

func until(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.RFC3339)
}

func (a *app) accountShow() *cobra.Command {
	return leaf("show ACCESS_KEY", "Show a service account", 1, 1, func(cmd *cobra.Command, args []string) error {
		s, err := a.client().ServiceAccount(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(s, func(w io.Writer) {
			row(w, "ID:", s.ID)
			row(w, "User:", s.Owner)
			row(w, "Name:", s.Name)
			row(w, "State:", state(s.Enabled))
			row(w, "Expires:", until(s.Expires))
			row(w, "Created:", s.Created.Format(time.RFC3339))
			for _, k := range s.Keys {
				row(w, "Key:", k.AccessKey+" ("+state(k.Enabled)+")")
			}
			if s.Policy != "" {
				fmt.Fprintf(w, "Policy:\n%s\n", strings.TrimSpace(s.Policy))
			}
		})
	})
}

func (a *app) accountRemove() *cobra.Command {
	return leaf("remove ACCESS_KEY", "Remove a service account", 1, 1, func(cmd *cobra.Command, args []string) error {
		if err := a.client().RemoveServiceAccount(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.done("Service account %s removed", args[0])
	}, "delete", "destroy", "rm")
}

func (a *app) accountEnable(enabled bool) *cobra.Command {
	use, short := "enable ACCESS_KEY", "Enable a service account"
	if !enabled {
		use, short = "disable ACCESS_KEY", "Disable a service account"
	}
	return leaf(use, short, 1, 1, func(cmd *cobra.Command, args []string) error {
		s, err := a.client().EnableServiceAccount(cmd.Context(), args[0], enabled)
		if err != nil {
			return err
		}
		return a.show(s, func(w io.Writer) { fmt.Fprintf(w, "Service account %s %s\n", s.ID, state(enabled)) })
	})
}

func (a *app) accountPolicy() *cobra.Command {
	cmd := leaf("set-policy ACCESS_KEY [FILE]", "Narrow a service account by a policy file; without FILE it inherits all again", 1, 2, func(cmd *cobra.Command, args []string) error {
		doc, err := a.document(at(args, 1))
		if err != nil {
			return err
		}
		s, err := a.client().SetServiceAccountPolicy(cmd.Context(), args[0], doc)
		if err != nil {
			return err
		}
		return a.show(s, func(w io.Writer) { fmt.Fprintf(w, "Service account %s: policy %s\n", s.ID, narrowed(&s)) })
	})
	cmd.ValidArgsFunction = nil // then file names
	return cmd
}

func (a *app) accountRotate() *cobra.Command {
	cmd := leaf("rotate ACCESS_KEY", "Give a service account a second key; the first works until it is removed", 1, 1, func(cmd *cobra.Command, args []string) error {
		k, err := a.client().RotateServiceAccount(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(k, func(w io.Writer) { showSecret(w, k.AccessKey.AccessKey, k.SecretKey) })
	})
	return cmd
}
