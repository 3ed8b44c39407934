"""How many pieces should an uplink carry at once? A swarm as simple as can be: whole pieces, every uplink always at its full speed.

A host that sends nothing chooses somebody who lacks something that it has, and the rarest of that; the seed sends every piece once first. What
a host sends side by side (`width`), has promised for later (`ahead`), pauses between two pieces (`dead`), and how late it learns
of a piece (`late`) cost what they cost. Times are in units of one piece on an uplink of 20 Mbit/s (0.22 s).

    python3 bench/model.py            the settings of docs/decisions/0011-turns.md, means of eight seeds
"""
import heapq, random, statistics


class Swarm:
    def __init__(self, rates, pieces, seed, width=1, ahead=0, dead=0.0, late=0.0):
        self.dice, self.rates, self.pieces = random.Random(seed), rates, pieces
        self.width, self.ahead, self.dead, self.late = width, ahead, dead, late
        hosts = range(len(rates))
        self.have = [set(range(pieces)) if host == 0 else set() for host in hosts]
        self.coming = [set() for _ in hosts]
        self.copies, self.given = [0] * pieces, [0] * pieces
        self.waiting, self.sending = [[] for _ in hosts], [[] for _ in hosts]
        self.events, self.count, self.done = [], 0, {}

    def choose(self, host):
        """Who is sent what next; None if nobody who is not served already lacks anything that nobody sends to it."""
        served = {to for to, _ in self.waiting[host] + self.sending[host]}
        lacks = [(to, self.have[host] - self.have[to] - self.coming[to]) for to in range(1, len(self.rates))
                 if to != host and to not in served]
        lacks = [(to, what) for to, what in lacks if what]
        fresh = {piece for piece in range(self.pieces) if not self.given[piece]} if host == 0 else set()
        if any(what & fresh for _, what in lacks):
            lacks = [(to, what & fresh) for to, what in lacks if what & fresh]
            least = min(len(self.have[to]) + len(self.coming[to]) for to, _ in lacks)
            lacks = [(to, what) for to, what in lacks if len(self.have[to]) + len(self.coming[to]) == least]
        if not lacks:
            return None
        to, what = self.dice.choice(lacks)
        least = min(self.copies[piece] for piece in what)
        return to, self.dice.choice(sorted(piece for piece in what if self.copies[piece] == least))

    def look_for_work(self, host, now):
        while len(self.waiting[host]) + len(self.sending[host]) < self.width + self.ahead and (chosen := self.choose(host)):
            to, piece = chosen
            self.coming[to].add(piece); self.copies[piece] += 1; self.given[piece] += host == 0
            self.waiting[host].append(chosen)
        while len(self.sending[host]) < self.width and self.waiting[host]:
            self.sending[host].append(self.waiting[host].pop(0))
            takes = self.width * self.dice.uniform(0.98, 1.02) / self.rates[host] + self.dead
            self.say(now + takes, "sent", host, self.sending[host][-1])

    def say(self, at, *what):
        self.count += 1
        heapq.heappush(self.events, (at, self.count, what))

    def run(self):
        """When the last leech has everything, and copies that the seed sent."""
        self.look_for_work(0, 0)
        while self.events:
            now, _, (what, host, (to, piece)) = heapq.heappop(self.events)
            if what == "sent":
                self.sending[host].remove((to, piece))
                self.say(now + self.late, "here", host, (to, piece))
                self.look_for_work(host, now)
                continue
            self.coming[to].discard(piece); self.have[to].add(piece)
            if len(self.have[to]) == self.pieces:
                self.done[to] = now
            order = list(range(len(self.rates))); self.dice.shuffle(order)
            for other in order:
                self.look_for_work(other, now)
        return max(self.done.values()), sum(self.given) / self.pieces


def show(name, rates, pieces=128, **how):
    runs = [Swarm(rates, pieces, seed, **how).run() for seed in range(1, 9)]
    last, copies = (statistics.mean(of) for of in zip(*runs))
    bound = max(pieces / rates[0], (len(rates) - 1) * pieces / sum(rates))
    # 0.947: headers of TCP, IP and Ethernet, as in the efficiency of swarm.py.
    print(f"{name:32s} efficiency {0.947 * bound / last:.3f}  seed sends {copies:.2f} copies", flush=True)


S1, S2, MIXED = [1] * 17, [5] + [1] * 16, [1] + [0.25 * 2 ** (n % 5) for n in range(16)]
if __name__ == "__main__":
    for width in (1, 2, 3, 4): show(f"S1, {width} side by side", S1, width=width)
    for ahead in (1, 2, 3): show(f"S1, {ahead} promised ahead", S1, ahead=ahead)
    for late in (0.2, 0.5): show(f"S1, 1 ahead, {late} late", S1, ahead=1, late=late)
    for dead in (0.02, 0.05): show(f"S1, 1 ahead, pauses of {dead}", S1, ahead=1, dead=dead)
    for ahead in (0, 1, 2): show(f"S2, {ahead} promised ahead", S2, ahead=ahead)
    for ahead in (0, 1, 2): show(f"5 to 80 Mbit/s, {ahead} promised", MIXED, ahead=ahead)
