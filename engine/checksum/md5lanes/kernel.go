package md5lanes

//go:generate sh -c "go run ./gen go > block.go && go run ./gen asm > lanes_amd64.s"

// maxLanes is the most streams a kernel advances at a time.
const maxLanes = 16

// kernel is a way to compute MD5.
type kernel uint8

const (
	generic kernel = iota // Go
	scalar                // amd64
	avx2                  // AVX2, and the general registers for one stream
	avx512                // AVX-512F and VL
)

// width is how many streams k advances at a time.
func (k kernel) width() int {
	if k >= avx2 {
		return maxLanes
	}
	return 1
}
