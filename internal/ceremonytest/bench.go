package ceremonytest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// Origin is where the ceremonies take place. The service must have it among its origins.
const Origin = "https://example.com"

// each is how many ceremonies of one person are begun before the first of them is finished, so that the clocks are not read
// for each.
const each = 16

// stepUp is what routes demand by default.
var stepUp = ceremony.Purpose{Action: passkey.StepUp, Level: passkey.Verified}

// person is a user with an authenticator, in one browser.
type person struct {
	ceremony.Party
	*authtest.Authenticator
}

func people(n int, name string, config authtest.Config) []person {
	all := make([]person, n)
	for i := range all {
		party := ceremony.Party{
			User: fmt.Sprintf("%s-%d@example.com", name, i), Origin: Origin,
			Browser: passkey.DigestOf(fmt.Sprint("browser ", i)), Session: passkey.DigestOf(fmt.Sprint("session ", i)),
		}
		all[i] = person{party, authtest.New(config)}
	}
	return all
}

// stopwatch adds up time, and CPU time of the process, between go on and stop. What the testing package does at both, which stops
// the world, does not count as CPU time.
type stopwatch struct {
	b     *testing.B
	since time.Duration
	cpu   time.Duration
}

func (w *stopwatch) goOn() {
	w.b.StartTimer()
	w.since = cpu(w.b)
}

func (w *stopwatch) stop() {
	w.cpu += cpu(w.b) - w.since
	w.b.StopTimer()
}

func (w *stopwatch) report() {
	w.b.ReportMetric(float64(w.cpu)/float64(w.b.N), "cpu-ns/op")
}

// Repeatedly measures something else, as ceremonies are measured.
func Repeatedly(b *testing.B, do func()) {
	b.Helper()
	b.StopTimer()
	watch := &stopwatch{b: b}
	b.ReportAllocs()
	b.ResetTimer()
	watch.goOn()
	for range b.N {
		do()
	}
	watch.stop()
	watch.report()
}

// atOnce does it for each of n, all at the same time, and fails the benchmark where one fails.
func atOnce(b *testing.B, n int, do func(i int) error) {
	b.Helper()
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = do(i) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			b.Fatal(err)
		}
	}
}

// Authentications measures step-ups, each from its start to its proof, of so many people at the same time, who each have one
// passkey of the authenticator that config describes. They step up again and again: without a sign count, within a minute of
// the last time.
func Authentications(b *testing.B, service *ceremony.Service, config authtest.Config, atATime int) {
	b.Helper()
	b.StopTimer()
	all := people(atATime, "ada", config)
	atOnce(b, atATime, func(i int) error { return all[i].enrol(context.Background(), service) })
	type exchange struct{ options, reply []byte }
	watch := &stopwatch{b: b}
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		exchanges := make([][]exchange, atATime)
		for i := 0; i < atATime*each && done < b.N; i++ {
			exchanges[i%atATime] = append(exchanges[i%atATime], exchange{})
			done++
		}
		watch.goOn()
		atOnce(b, atATime, func(i int) (err error) {
			for j := range exchanges[i] {
				if exchanges[i][j].options, err = service.Start(context.Background(), all[i].Party, stepUp); err != nil {
					return err
				}
			}
			return nil
		})
		watch.stop()
		atOnce(b, atATime, func(i int) (err error) {
			for j := range exchanges[i] {
				if exchanges[i][j].reply, err = all[i].Authenticate(exchanges[i][j].options, Origin); err != nil {
					return err
				}
			}
			return nil
		})
		watch.goOn()
		atOnce(b, atATime, func(i int) error {
			for j := range exchanges[i] {
				if _, err := service.Finish(context.Background(), all[i].Party, stepUp, exchanges[i][j].reply); err != nil {
					return err
				}
			}
			return nil
		})
		watch.stop()
	}
	watch.report()
}

// enrol registers a person's first passkey.
func (p person) enrol(ctx context.Context, service *ceremony.Service) error {
	begun, err := service.StartRegistration(ctx, p.Party, "", nil)
	if err != nil {
		return err
	}
	reply, err := p.Register(begun.Options, Origin)
	if err != nil {
		return err
	}
	_, err = service.FinishRegistration(ctx, p.Party, ceremony.Naming{}, reply)
	return err
}

// Registrations measures first registrations, with the recovery codes that come with them, of so many people at the same time.
func Registrations(b *testing.B, service *ceremony.Service, atATime int) {
	b.Helper()
	b.StopTimer()
	watch := &stopwatch{b: b}
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		n := min(atATime*each, b.N-done)
		all := people(n, fmt.Sprintf("bob-%d-%d", b.N, done), authtest.Config{})
		replies := make([][]byte, n)
		done += n
		ofOne := func(i int, do func(k int) error) error { // every atATime'th
			for k := i; k < n; k += atATime {
				if err := do(k); err != nil {
					return err
				}
			}
			return nil
		}
		watch.goOn()
		atOnce(b, atATime, func(i int) error {
			return ofOne(i, func(k int) error {
				begun, err := service.StartRegistration(context.Background(), all[k].Party, "", nil)
				replies[k] = begun.Options
				return err
			})
		})
		watch.stop()
		atOnce(b, atATime, func(i int) error {
			return ofOne(i, func(k int) (err error) {
				replies[k], err = all[k].Register(replies[k], Origin)
				return err
			})
		})
		watch.goOn()
		atOnce(b, atATime, func(i int) error {
			return ofOne(i, func(k int) error {
				_, err := service.FinishRegistration(context.Background(), all[k].Party, ceremony.Naming{}, replies[k])
				return err
			})
		})
		watch.stop()
	}
	watch.report()
}
