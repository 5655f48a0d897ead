// SPDX-License-Identifier: Apache-2.0

// A Pion peer for `dreamer bench channel --peer`. Benchmarks/README.md has the protocol and how to build it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc"
)

// A message of at most so many bytes is a ping and goes back.
const pingBytes = 64

// Sending pauses above the first and goes on below the second, as the other programs do.
const highWater, lowWater = 1 << 20, 512 << 10

type command struct {
	Command, Address, SDP      string
	Ordered                    bool
	Bytes, MessageBytes, Count int
}

type event map[string]interface{}

var events = make(chan event, 16)

func say(e event) { events <- e }

func check(err error) {
	if err != nil {
		line, _ := json.Marshal(event{"event": "error", "message": err.Error()})
		fmt.Println(string(line))
		os.Exit(1)
	}
}

type peer struct {
	api        *webrtc.API
	connection *webrtc.PeerConnection
	channel    *webrtc.DataChannel
	expected   int64
	echoes     chan struct{}
	low        chan struct{}
}

func newPeer(address string) *peer {
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetIPFilter(func(ip net.IP) bool { return ip.String() == address })
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6})
	return &peer{
		api: webrtc.NewAPI(webrtc.WithSettingEngine(settings)), echoes: make(chan struct{}, 1),
		low: make(chan struct{}, 1),
	}
}

func (p *peer) connect() {
	var err error
	p.connection, err = p.api.NewPeerConnection(webrtc.Configuration{})
	check(err)
	p.connection.OnDataChannel(p.use)
}

func (p *peer) use(channel *webrtc.DataChannel) {
	p.channel = channel
	channel.OnMessage(func(message webrtc.DataChannelMessage) { p.received(message.Data) })
	channel.SetBufferedAmountLowThreshold(lowWater)
	channel.OnBufferedAmountLow(func() {
		select {
		case p.low <- struct{}{}:
		default:
		}
	})
	channel.OnOpen(func() { say(event{"event": "opened"}) })
}

func (p *peer) received(bytes []byte) {
	expected := atomic.LoadInt64(&p.expected)
	switch {
	case len(bytes) > pingBytes:
		if expected > 0 && atomic.AddInt64(&p.expected, -int64(len(bytes))) <= 0 {
			say(event{"event": "received"})
		}
	case p.channel.ID() != nil && p.isOfferer():
		p.echoes <- struct{}{}
	default:
		check(p.channel.Send(bytes))
	}
}

func (p *peer) isOfferer() bool { return p.connection.LocalDescription().Type == webrtc.SDPTypeOffer }

// Waits until all candidates are known, and tells the description with them.
func (p *peer) describe(name string, description webrtc.SessionDescription) {
	gathered := webrtc.GatheringCompletePromise(p.connection)
	check(p.connection.SetLocalDescription(description))
	<-gathered
	say(event{"event": name, "sdp": p.connection.LocalDescription().SDP})
}

func (p *peer) ping(count int) {
	times := make([]float64, count)
	message := make([]byte, pingBytes)
	for i := range times {
		begin := time.Now()
		check(p.channel.Send(message))
		<-p.echoes
		times[i] = float64(time.Since(begin).Nanoseconds()) / 1000
	}
	say(event{"event": "pinged", "microseconds": times})
}

func (p *peer) send(bytes, size int) {
	message := make([]byte, size)
	for sent := 0; sent < bytes; sent += size {
		for p.channel.BufferedAmount() >= highWater {
			<-p.low
		}
		check(p.channel.Send(message))
	}
	say(event{"event": "sent"})
}

func (p *peer) do(c command) {
	switch c.Command {
	case "start":
		*p = *newPeer(c.Address)
		// What lies above does not arrive: the buffer that messages are read into has this size.
		say(event{"event": "ready", "name": "pion", "maxMessageBytes": 65535})
	case "offer":
		p.connect()
		channel, err := p.connection.CreateDataChannel("bench", &webrtc.DataChannelInit{Ordered: &c.Ordered})
		check(err)
		p.use(channel)
		offer, err := p.connection.CreateOffer(nil)
		check(err)
		p.describe("offer", offer)
	case "accept":
		p.connect()
		check(p.connection.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: c.SDP}))
		answer, err := p.connection.CreateAnswer(nil)
		check(err)
		p.describe("answer", answer)
	case "answer":
		check(p.connection.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: c.SDP}))
	case "ping":
		p.ping(c.Count)
	case "receive":
		atomic.StoreInt64(&p.expected, int64(c.Bytes))
		say(event{"event": "receiving"})
	case "send":
		p.send(c.Bytes, c.MessageBytes)
	case "close":
		// An error where the other side closed first.
		_ = p.connection.Close()
		say(event{"event": "closed"})
	}
}

func main() {
	go func() {
		for e := range events {
			line, _ := json.Marshal(e)
			fmt.Println(string(line))
		}
	}()
	p := &peer{}
	input := bufio.NewReader(os.Stdin)
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			return
		}
		var c command
		check(json.Unmarshal(line, &c))
		p.do(c)
	}
}
