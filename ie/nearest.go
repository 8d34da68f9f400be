package ie

import "strings"

// nearest finds the name that a typist may have meant by s: at most a third
// of the letters differ. "" if there is none.
func nearest(s string, names []string) string {
	if s == "" || len(s) > 64 {
		return ""
	}
	s = strings.ToLower(s)
	best, found := len(s)/3+1, ""
	row := make([]int, 0, 72)
	for _, n := range names {
		if d := len(n) - len(s); d >= best || -d >= best {
			continue
		}
		if d := distance(s, strings.ToLower(n), row); d < best {
			best, found = d, n
		}
	}
	return found
}

// distance is the number of letters to add, drop or replace between a and b.
// row is scratch space.
func distance(a, b string, row []int) int {
	row = row[:0]
	for j := range len(b) + 1 {
		row = append(row, j)
	}
	for i := range len(a) {
		left, diagonal := i+1, i
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(diagonal, left, row[j+1])
			}
			diagonal, row[j], left = row[j+1], left, d
		}
		row[len(b)] = left
	}
	return row[len(b)]
}
