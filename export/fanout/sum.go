package fanout

import (
	"reflect"
	"strings"

	"ipfixsuite/export"
)

// add adds the counters of st to sum. It goes by the kind of each field, so
// that a counter that is new there is not forgotten here.
func add(sum, st *export.Stats) {
	addFields(reflect.ValueOf(sum).Elem(), reflect.ValueOf(st).Elem())
}

func addFields(sum, st reflect.Value) {
	for i := range sum.NumField() {
		name := sum.Type().Field(i).Name
		to, from := sum.Field(i), st.Field(i)
		greatest := strings.HasPrefix(name, "Max")
		switch to.Kind() {
		case reflect.Struct:
			addFields(to, from)
		case reflect.Uint64, reflect.Uint32, reflect.Uint:
			if greatest {
				to.SetUint(max(to.Uint(), from.Uint()))
			} else {
				to.SetUint(to.Uint() + from.Uint())
			}
		case reflect.Int, reflect.Int64:
			if greatest {
				to.SetInt(max(to.Int(), from.Int()))
			} else {
				to.SetInt(to.Int() + from.Int())
			}
		case reflect.Bool:
			to.SetBool(to.Bool() || from.Bool())
		case reflect.Float64: // of the process, not of an exporter
			to.SetFloat(max(to.Float(), from.Float()))
		case reflect.Pointer:
			if to.IsNil() {
				to.Set(from)
			}
		}
	}
}
