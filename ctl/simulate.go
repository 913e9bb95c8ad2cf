package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicehq/sluice/daemon/api"
)

func (a *app) policySimulate() *cobra.Command {
	var (
		in                       api.Simulate
		policyFile, bucketPolicy string
		context                  []string
	)
	cmd := leaf("simulate ACTION RESOURCE", "Explain whether an action would be allowed, statement by statement", 2, 2, func(cmd *cobra.Command, args []string) error {
		in.Action, in.Resource = args[0], args[1]
		if in.Anonymous && (in.User != "" || policyFile != "") {
			return usageError{errors.New("--anonymous excludes --user and --policy-file")}
		}
		var err error
		if in.Document, err = a.document(policyFile); err != nil {
			return err
		}
		if in.BucketPolicy, err = a.document(bucketPolicy); err != nil {
			return err
		}
		if in.Context, err = contextValues(context); err != nil {
			return err
		}
		out, err := a.client().Simulate(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.show(out, func(w io.Writer) { showSimulation(w, &out) })
	})
	cmd.Long = "Explain whether an action would be allowed. ACTION is like s3:GetObject or GetObject, RESOURCE like\n" +
		"arn:aws:s3:::bucket/key or bucket/key. The policies of the user, of its groups and of the bucket are\n" +
		"evaluated as for a request; --context gives the values of condition keys that a request would have.\n" +
		"The exit code tells only whether the question could be answered."
	cmd.Flags().StringVar(&in.User, "user", "", "ask for this user or access key (the only S3 user, when left out)")
	a.completeFlag(cmd, "user", a.userNames)
	cmd.Flags().BoolVar(&in.Anonymous, "anonymous", false, "ask for a client without credentials")
	cmd.Flags().StringVar(&policyFile, "policy-file", "", "evaluate the policy in this `FILE` in place of the user's")
	cmd.Flags().StringVar(&bucketPolicy, "bucket-policy-file", "", "evaluate the policy in this `FILE` in place of the bucket's")
	cmd.Flags().StringArrayVar(&context, "context", nil, "`KEY=VALUE` of a condition key, such as aws:SourceIp=192.0.2.1 (repeatable)")
	return cmd
}

// contextValues parses KEY=VALUE; a key given more than once has several values.
func contextValues(pairs []string) (map[string][]string, error) {
	out := make(map[string][]string, len(pairs))
	for _, p := range pairs {
		key, value, ok := strings.Cut(p, "=")
		if !ok || key == "" {
			return nil, usageError{fmt.Errorf("--context %q: want KEY=VALUE", p)}
		}
		out[key] = append(out[key], value)
	}
	return out, nil
}

func showSimulation(w io.Writer, s *api.Simulation) {
	fmt.Fprintf(w, "%s: %s\n", strings.ToUpper(s.Decision), s.Reason)
	if len(s.Statements) == 0 {
		return
	}
	fmt.Fprintln(w)
	row(w, "SOURCE", "POLICY", "STATEMENT", "SID", "EFFECT", "MATCHES", "WHY")
	for _, st := range s.Statements {
		matches := "no"
		if st.Matched {
			matches = "yes"
		}
		policy := st.Name
		if policy == "" {
			policy = strconv.Itoa(st.Policy)
		}
		row(w, st.Source, policy, st.Index, st.Sid, st.Effect, matches, st.Why)
	}
}
