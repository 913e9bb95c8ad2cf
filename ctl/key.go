package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

func (a *app) userKeyCmd() *cobra.Command {
	cmd := group("key", "Access keys of an S3 user besides its name and password", "keys", "access-key")
	add := leaf("add USER", "Give a user one more access key, to rotate keys with both live", 1, 1, func(cmd *cobra.Command, args []string) error {
		k, err := a.client().AddAccessKey(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(k, func(w io.Writer) { showSecret(w, k.AccessKey.AccessKey, k.SecretKey) })
	}, "create")
	add.ValidArgsFunction = a.complete(0, a.userNames)
	list := leaf("list USER", "List a user's access keys", 1, 1, func(cmd *cobra.Command, args []string) error {
		keys, err := a.client().AccessKeys(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(keys, func(w io.Writer) { showKeys(w, keys) })
	}, "ls")
	list.ValidArgsFunction = a.complete(0, a.userNames)
	cmd.AddCommand(add, list, a.keyRemove(), a.keyEnable(true), a.keyEnable(false))
	return cmd
}

func showSecret(w io.Writer, key, secret string) {
	row(w, "Access key:", key)
	row(w, "Secret key:", secret)
	fmt.Fprintln(w, "The secret key is shown this once.")
}

func showKeys(w io.Writer, keys []api.AccessKey) {
	row(w, "ACCESS KEY", "STATE", "CREATED")
	for _, k := range keys {
		row(w, k.AccessKey, state(k.Enabled), k.Created.Format(time.RFC3339))
	}
}

func (a *app) keyRemove() *cobra.Command {
	return leaf("remove ACCESS_KEY", "Remove an access key", 1, 1, func(cmd *cobra.Command, args []string) error {
		if err := a.client().RemoveAccessKey(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.done("Access key %s removed", args[0])
	}, "delete", "rm")
}

func (a *app) keyEnable(enabled bool) *cobra.Command {
	use, short := "enable ACCESS_KEY", "Enable an access key"
	if !enabled {
		use, short = "disable ACCESS_KEY", "Disable an access key"
	}
	return leaf(use, short, 1, 1, func(cmd *cobra.Command, args []string) error {
		if err := a.client().EnableAccessKey(cmd.Context(), args[0], enabled); err != nil {
			return err
		}
		return a.done("Access key %s %s", args[0], state(enabled))
	})
}
