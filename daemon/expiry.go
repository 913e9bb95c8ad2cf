package main

import (
	"context"
	"fmt"
	"time"
)

// expiryEvery is how often the certificate's end is looked at.
const expiryEvery = time.Hour

// expiryDays are the days left, from which each is told once.
var expiryDays = [...]int{30, 14, 7, 1, 0}

// expiryStage returns how many of expiryDays have been reached at now.
func expiryStage(notAfter, now time.Time) int {
	stage := 0
	for _, days := range expiryDays {
		if left := notAfter.Sub(now); left <= time.Duration(days)*24*time.Hour {
			stage++
		}
	}
	return stage
}

// expiryWarning says that a certificate ends soon, or has ended; "": it does not.
func expiryWarning(notAfter, now time.Time) string {
	left := notAfter.Sub(now)
	switch days := int(left / (24 * time.Hour)); {
	case expiryStage(notAfter, now) == 0:
		return ""
	case left <= 0:
		return fmt.Sprintf("the TLS certificate expired on %s: clients refuse it", notAfter.UTC().Format(time.RFC3339))
	case days == 0:
		return fmt.Sprintf("the TLS certificate expires within a day, on %s", notAfter.UTC().Format(time.RFC3339))
	default:
		return fmt.Sprintf("the TLS certificate expires in %d days, on %s", days, notAfter.UTC().Format(time.RFC3339))
	}
}

// watchExpiry warns of the certificate's end at the start and with 30, 14, 7 and
// 1 days left, until ctx is done.
func (d *daemon) watchExpiry(ctx context.Context) {
	if d.certs == nil {
		return
	}
	var told expiryTold
	tick := time.NewTicker(expiryEvery)
	defer tick.Stop()
	for {
		if text := told.next(d.certs.current.Load(), time.Now()); text != "" {
			d.log.Warn(text)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// expiryTold remembers what was told of which certificate.
type expiryTold struct {
	cert  *certificate
	stage int
}

// next returns the warning that is due, or "".
func (e *expiryTold) next(cert *certificate, now time.Time) string {
	if e.cert != cert {
		e.cert, e.stage = cert, 0
	}
	end := cert.tls.Leaf.NotAfter
	stage := expiryStage(end, now)
	if stage <= e.stage {
		return ""
	}
	e.stage = stage
	return expiryWarning(end, now)
}

// warnings are what an administrator should know of, for the status.
func (d *daemon) warnings(now time.Time) []string {
	if d.certs == nil {
		return nil
	}
	if text := expiryWarning(d.certs.current.Load().tls.Leaf.NotAfter, now); text != "" {
		return []string{text}
	}
	return nil
}
