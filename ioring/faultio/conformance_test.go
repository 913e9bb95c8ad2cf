package faultio_test

import (
	"testing"

	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/devicetest"
	"github.com/sluicehq/sluice/ioring/faultio"
)

func TestConformance(t *testing.T) {
	devicetest.Run(t, func(_ *testing.T, _ *ioring.Arena, depth int) ioring.Device {
		return faultio.New(faultio.Options{Depth: depth})
	})
}
