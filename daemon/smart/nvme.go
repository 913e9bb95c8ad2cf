package smart

import (
	"encoding/binary"
	"errors"
	"math"
)

// logSize is the length of the health log in bytes.
const logSize = 512

// Bytes of the log, little-endian (NVM Express Base Specification, "SMART / Health
// Information (Log Identifier 02h)"):
//
//	  0   1  critical warning, bits as in warnings
//	  1   2  composite temperature, kelvin
//	  3   1  available spare, percent
//	  5   1  percentage used: of the life the maker expects; may exceed 100
//	128  16  power on hours
//	160  16  media and data integrity errors
const (
	offWarning     = 0
	offTemperature = 1
	offSpare       = 3
	offUsed        = 5
	offHours       = 128
	offMedia       = 160

	zeroCelsius = 273 // kelvin, as the specification rounds it
)

// warnings are the bits of the critical warning.
var warnings = [...]string{
	"spare below its threshold",
	"temperature beyond a threshold",
	"reliability degraded by errors",
	"read-only",
	"volatile memory backup failed",
	"persistent memory unreliable",
}

var errShortLog = errors.New("smart: health log is too short")

// decodeLog reads a health log.
func decodeLog(b []byte) (in Info, err error) {
	if len(b) < logSize {
		return in, errShortLog
	}
	for bit, text := range warnings {
		if b[offWarning]&(1<<bit) != 0 {
			in.Critical = append(in.Critical, text)
		}
	}
	if k := binary.LittleEndian.Uint16(b[offTemperature:]); k != 0 {
		in.Temperature = number(int64(k) - zeroCelsius)
	}
	in.Spare = number(int64(b[offSpare]))
	in.Wear = number(int64(b[offUsed]))
	in.PowerOnHours = number(counter(b[offHours:]))
	in.MediaErrors = number(counter(b[offMedia:]))
	return in, nil
}

// counter reads 128 bits; what is beyond 63 of them counts as the greatest number.
func counter(b []byte) int64 {
	low, high := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	if high != 0 || low > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(low)
}

func number(n int64) *int64 { return &n }
