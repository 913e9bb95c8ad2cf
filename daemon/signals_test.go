package main

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestSignals(t *testing.T) {
	code := make(chan int, 4)
	s := &signals{got: make(chan os.Signal), reload: make(chan struct{}, 1), exit: func(c int) { code <- c }}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan struct{})
	go func() { s.run(cancel); close(ended) }()
	s.got <- syscall.SIGHUP
	s.got <- syscall.SIGHUP // one is pending already
	if len(s.reload) != 1 || ctx.Err() != nil {
		t.Errorf("SIGHUP: %d reloads, %v", len(s.reload), ctx.Err())
	}
	s.got <- syscall.SIGINT
	s.got <- syscall.SIGTERM // the echo of a Ctrl-C
	<-ctx.Done()
	time.Sleep(sameStop)
	if len(code) > 0 {
		t.Error("ended by an echo")
	}
	s.got <- syscall.SIGTERM
	if c := <-code; c != 1 {
		t.Errorf("exit code %d", c)
	}
	close(s.got)
	<-ended
}
