#!/usr/bin/env python3
"""Writes mixed.pcap: what the demo replays from a station on the card's fourth wire.

One frame each 5 ms; kinds take turns, so that each kind is seen long enough to be offloaded."""
import struct

STATION = bytes.fromhex("024d46006401")
HOSTS = [bytes.fromhex(f"024d460000{n:02x}") for n in (1, 2, 3)]
IP_STATION, IP_HOSTS = bytes([10, 77, 0, 100]), [bytes([10, 77, 0, n]) for n in (1, 2, 3)]


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(proto, payload, dst, ttl=64, frag=0, ident=1):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, frag, ttl, proto, 0, IP_STATION, dst)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp(payload, dst, sport=4000, dport=4001):
    length = 8 + len(payload)
    pseudo = IP_STATION + dst + struct.pack("!BBH", 0, 17, length)
    head = struct.pack("!HHHH", sport, dport, length, 0)
    return head[:6] + struct.pack("!H", checksum(pseudo + head + payload) or 0xFFFF) + payload


def udp6(payload):
    src = bytes.fromhex("fd77" + "00" * 13 + "64")
    dst = bytes.fromhex("fd77" + "00" * 13 + "02")
    head = struct.pack("!HHHH", 4000, 4001, 8 + len(payload), 0)
    pseudo = src + dst + struct.pack("!II", 8 + len(payload), 17)
    head = head[:6] + struct.pack("!H", checksum(pseudo + head + payload) or 0xFFFF)
    options = bytes([17, 0, 1, 4, 0, 0, 0, 0])  # hop-by-hop with padding, then UDP
    return struct.pack("!IHBB", 6 << 28, len(options) + len(head) + len(payload), 0, 64) + src + dst + options + head + payload


def eth(dst, eth_type, payload):
    return (dst + STATION + struct.pack("!H", eth_type) + payload).ljust(60, b"\0")


def mpls(label, payload):
    return struct.pack("!I", label << 12 | 1 << 8 | 64) + payload


def kinds(n):
    data = bytes((n * 7 + i) & 0xFF for i in range(80 + n % 400))
    one, two, three = HOSTS
    inner = ipv4(17, udp(data, IP_HOSTS[0]), IP_HOSTS[0])
    yield eth(one, 0x0800, inner)
    yield eth(two, 0x86DD, udp6(data))
    yield eth(one, 0x8847, mpls(100, inner))
    yield eth(two, 0x8847, mpls(200, inner))
    yield eth(one, 0x8847, mpls(300, inner))
    yield eth(three, 0x8100, struct.pack("!HH", 10, 0x0800) + inner)
    yield eth(three, 0x88A8, struct.pack("!HHHH", 20, 0x8100, 30, 0x0800) + inner)
    yield eth(two, 0x0800, ipv4(17, udp(data, IP_HOSTS[1])[:64], IP_HOSTS[1], frag=0x2000, ident=n + 1))
    yield eth(two, 0x0800, ipv4(17, data[:40], IP_HOSTS[1], frag=8, ident=n + 1))
    yield eth(b"\xff" * 6, 0x0806, struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, STATION, IP_STATION, b"\0" * 6, IP_HOSTS[n % 3]))
    yield eth(bytes.fromhex("0180c2000000"), 38, bytes.fromhex("424203") + b"\0" * 35)  # a spanning-tree frame
    yield eth(three, 0x0800, b"\x45\x00\xff\xff\x00\x01")  # an IP header that ends too early


with open("mixed.pcap", "wb") as out:
    out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    micros = 0
    for turn in range(40):
        for frame in kinds(turn):
            out.write(struct.pack("<IIII", micros // 1_000_000, micros % 1_000_000, len(frame), len(frame)) + frame)
            micros += 5_000
