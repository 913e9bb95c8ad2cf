package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// maxPassword bounds a password read from standard input, in bytes.
const maxPassword = 4096

// terminal returns standard input's descriptor when a person is at it.
func (a *app) terminal() (int, bool) {
	f, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// password asks for a password twice, unechoed, on a terminal; otherwise it
// reads the first line of standard input.
func (a *app) password(prompt string) (string, error) {
	fd, ok := a.terminal()
	if !ok {
		line, err := bufio.NewReader(io.LimitReader(a.in, maxPassword)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", usageError{errors.New("no password: give it as an argument, on standard input, or use a terminal")}
		}
		return line, nil
	}
	var answers [2]string
	for i, text := range []string{prompt, "Again"} {
		fmt.Fprintf(a.err, "%s: ", text)
		line, err := term.ReadPassword(fd)
		fmt.Fprintln(a.err)
		if err != nil {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		answers[i] = string(line)
	}
	if answers[0] != answers[1] {
		return "", errors.New("the passwords differ")
	}
	return answers[0], nil
}

// askOnce asks for a secret, unechoed, at the terminal fd.
func (a *app) askOnce(fd int, prompt string) (string, error) {
	fmt.Fprintf(a.err, "%s: ", prompt)
	line, err := term.ReadPassword(fd)
	fmt.Fprintln(a.err)
	if err != nil {
		return "", fmt.Errorf("reading the passphrase: %w", err)
	}
	return string(line), nil
}

// confirm asks a yes/no question on a terminal; a program is taken at its word.
func (a *app) confirm(question string) bool {
	if _, ok := a.terminal(); !ok {
		return true
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	line, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil {
		return false
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}
