// SPDX-License-Identifier: BSL-1.0
//
// A ring, its two doorbells and the death of either side, under total store order (that of x86: a
// store waits in the buffer of its processor, and becomes visible later, in order). The functions
// of ipc/include/procyard/ipc/detail/ring_core.hpp are here under their names; the loop around them
// is the one that its users must have. Weaker orders are the business of ring_relacy.cpp.
//
// The producer commits MESSAGES units, one or more at a time, and closes. The consumer takes what
// is there, releases one or more at a time, and may close instead of going to sleep. With KILLED
// one of them (P or C) is killed, at any step. One that sleeps may give up (a cancelled operation)
// and come back.
//
//   - A doorbell is a descriptor of which only matters whether it is empty. Ringing is modelled as
//     a store like any other, so nothing hangs on fences that a system call may or may not have.
//   - A side that is killed stops between any two steps; what it has stored becomes visible; then
//     its descriptors are closed, and the one that tells the other of its death becomes ready.
//   - A full fence waits until the side's buffer is empty; membarrier(2) waits for that, and until
//     the peer's is.
//   - What an atomic block holds is one step for the others: one load or one store, and what the
//     side alone makes of it. (A fence may be in it as well: it is passed at any moment at which
//     the buffer is empty, and stays so while the side does nothing.)
//
// Shown, by looking at every state that there is:
//   (a) nobody sleeps for ever: there is no state without a successor in which a side is not at its
//       end ("invalid end state"); so a producer that waits for space hears that the consumer has
//       died or closed;
//   (b) all that was committed before the producer's death is received before that is reported;
//   (c) all that was committed before close is received before that is reported;
//   (d) honest sides never see each other go back or beyond the capacity.
//
// FENCES=1: each publisher has a full fence (may_relax is false). FENCES=2: the sides may relax,
// whenever they are awake and as often as they like; while one is relaxed the other goes without a
// fence, says so, and then the first calls membarrier before it sleeps. With TRIES a side goes on
// while it sleeps, so often: who tries goes before who waits. With PARTS what the look after the
// announcement finds is used at once, and then there is nothing; that is right only where one side
// likes no more than it needs, as the consumers of channels do. With QUIET the producer does not
// close until all has been received: each wake-up comes from its own publication, not from what
// follows it. Each of the mutants takes one rule away; check.sh sees to it that each of them is found
// out, which tests the model:
//
//   NO_FENCE            the publisher has no fence, though the sleeper never was relaxed
//   NO_MEMBARRIER       the sleeper has a fence, but does not call membarrier where the publisher
//                       has none
//   UNFENCED_UNSAID     the publisher goes without a fence, and does not say so
//   UNFENCED_AT_ONCE    it says so, but has no full fence between that and the first one left out
//   FENCED_TOO_SOON     it says that it has its fence again, and leaves one more out
//   LOOK_BEFORE_FENCE   the sleeper looks whether the publisher goes without after it has announced,
//                       but before its own fence
//   MAY_NOT_RELAX       a side that goes on for one which has died relaxed never looks at all
//   NO_SLEEPER_FENCE    announce has no barrier
//   NO_RECHECK          announce, then sleep: no refresh between the two
//   NO_CLOSED_RECHECK   no look at peer_closed between the two
//   READ_AFTER_RECHECK  the doorbell is emptied between the two: it eats the announcement's ring
//   SAME_NUMBER         a flag, not a number: the second announcement is taken for the first
//   RUNG_FOR_TOO_SOON   an announcement is taken for rung for before its threshold is reached
//   CLOSE_WITHOUT_RING  close does not ask must_ring
//   CLOSE_AT_THRESHOLD  close rings only for one whose threshold is reached
//   CLOSED_AFTER_RING   peer_closed is asked after refresh: what was committed between is lost
//   DEATH_AFTER_RING    the same with the death
//   SLEEP_UNPUBLISHED   a side goes to sleep before it has published all that it has done
//   NO_LAST_RING        a side goes to sleep without must_ring_before_sleep: both may like more
//                       than there is, and neither tells the other of the little there is
//   SHORT_OF_A_LAP      who is more than a lap ahead of the threshold is taken for short of it, as
//                       if a sleeper could not have gone on since it has announced that
//   NEEDS_WHAT_IT_LIKES the consumer sleeps although there is something: it needs as much as it
//                       likes, and the producer does, too
//   OLD_RUNG_FOR        a side goes on with a new peer, whose numbers begin again, and remembers
//                       for which of the old one's it has rung
//
// And these are right as well. They are here to show what the protocol does not hang on:
//
//   READ_AFTER_DRAIN    the doorbell is emptied after withdraw and drain, but before the next
//                       announce: what a ring that is eaten there told, refresh sees after it
//   WAKE_AT_LAST        announce stores wake_at after sleep
//   ODD_START           a side goes on from the words of one which has died asleep, and does not
//                       withdraw first: the next announcement has another number all the same
//   RELAXED_START       the same of one which has died relaxed, while the peer goes without a fence
//   STAYS_RELAXED       announce leaves the bit where it is: the publisher goes on without a fence,
//                       and every sleep needs a membarrier (hence the rule)

#ifndef FENCES
#define FENCES 1
#endif
#ifndef CAPACITY
#define CAPACITY 2
#endif
#ifndef MESSAGES
#define MESSAGES 3
#endif
#ifndef PRODUCER_LIKES  // the most units that it would like to be woken for
#define PRODUCER_LIKES CAPACITY
#endif
#ifndef CONSUMER_LIKES
#define CONSUMER_LIKES CAPACITY
#endif
#ifndef TRIES  // how often a side goes on while it sleeps
#define TRIES 0
#endif
#ifndef CANCELLATIONS  // how often a side gives up a wait
#define CANCELLATIONS 1
#endif
#ifndef RELAXERS  // which of the sides may relax: 1 is the producer, 2 the consumer
#define RELAXERS 3
#endif
#ifndef BUFFER  // stores that may wait
#define BUFFER 4
#endif

#define P 0
#define C 1

// What a publisher does of its fences.
#define ALWAYS 0
#define ONCE_MORE 1
#define NEVER 2
#define ALWAYS_BUT_ONCE 3  // with FENCED_TOO_SOON

#if defined(ODD_START)
#define NUMBER_AT_START 1
#elif defined(RELAXED_START)
#define NUMBER_AT_START 2
#else
#define NUMBER_AT_START 0
#endif
#if defined(RELAXED_START) || defined(MAY_NOT_RELAX)
#define FENCING_AT_START NEVER
#else
#define FENCING_AT_START ALWAYS
#endif
#ifdef OLD_RUNG_FOR
#define RUNG_FOR_AT_START 5  // the first announcement
#else
#define RUNG_FOR_AT_START 0
#endif

// The words of both sides, as they are in the memory.
byte position[2];
byte sleep[2] = NUMBER_AT_START;
byte wake_at[2];
bool closed[2];
bool unfenced[2] = (FENCING_AT_START == NEVER);
bool bell[2];  // its own doorbell is not empty

bool killed[2];
bool dead[2];  // the descriptor that tells the other side of it is ready

#define POSITION 0
#define SLEEP 1
#define WAKE_AT 2
#define CLOSED 3
#define BELL 4  // that of the other side
#define UNFENCED 5

chan buffer[2] = [BUFFER] of { byte, byte };
hidden byte word;
hidden byte value;

inline make_visible(side) {
    d_step {
        buffer[side] ? word, value;
        if
        :: word == POSITION -> position[side] = value
        :: word == SLEEP -> sleep[side] = value
        :: word == WAKE_AT -> wake_at[side] = value
        :: word == CLOSED -> closed[side] = true
        :: word == BELL -> bell[1 - side] = true
        :: word == UNFENCED -> unfenced[side] = value
        fi
    }
}

active proctype memory() {
end:
    do
    :: make_visible(P)
    :: make_visible(C)
    od
}

#ifdef KILLED
active proctype killer() {
    killed[KILLED] = true
}
#endif

#define is_fenced(side) empty(buffer[side])
#define may_store nfull(buffer[me])
#define store(what, that) buffer[me] ! what, that  // in an atomic block, behind may_store

// ---- ring_core.hpp. Its members are locals of the process below.

#define room (peer_position + lead - own)

inline refresh() {
    assert(position[peer] >= peer_position && position[peer] + lead - own <= CAPACITY);
    peer_position = position[peer]
}

inline publish() {
    atomic { may_store -> published = own; store(POSITION, own) }
}

#ifdef CLOSE_AT_THRESHOLD
#define CLOSE_COUNTS false
#else
#define CLOSE_COUNTS has_closed
#endif

#ifdef SHORT_OF_A_LAP
#define is_short_of_it ((published - wake_at[peer] + 256) % 256 > CAPACITY)
#else
#define is_short_of_it ((published - wake_at[peer] + 256) % 256 > 127)
#endif

#define is_relaxed(number) ((number & 3) == 2)

#ifdef UNFENCED_AT_ONCE
#define WHEN_SAID NEVER
#else
#define WHEN_SAID ONCE_MORE
#endif
#ifdef FENCED_TOO_SOON
#define WHEN_FENCED_AGAIN ALWAYS_BUT_ONCE
#else
#define WHEN_FENCED_AGAIN ALWAYS
#endif

// And the ringing that follows from it.
inline must_ring(whatever_it_likes) {
    atomic {
#ifndef NO_FENCE
#if FENCES == 2
        fencing == NEVER || fencing == ALWAYS_BUT_ONCE || is_fenced(me);
        fencing = (fencing == ONCE_MORE -> NEVER : (fencing == NEVER -> NEVER : ALWAYS));
#else
        is_fenced(me);
#endif
#endif
        seen = sleep[peer];
#if FENCES == 2
        if
        :: is_relaxed(seen) && fencing == ALWAYS -> fencing = WHEN_SAID; has_changed = true
        :: !is_relaxed(seen) && fencing != ALWAYS ->
            fencing = WHEN_FENCED_AGAIN;
            has_changed = true
        :: else -> skip
        fi;
#endif
        if
        :: seen % 2 == 0 || seen == rung_for -> seen = 0
        :: else -> skip
        fi;
#ifdef RUNG_FOR_TOO_SOON
        rung_for = (seen -> seen : rung_for);
#endif
    }
#if FENCES == 2 && !defined(UNFENCED_UNSAID)
    if
    :: atomic {
           has_changed && may_store ->
           has_changed = false;
           store(UNFENCED, (fencing == WHEN_SAID))
       }
    :: !has_changed
    fi;
#endif
    if
    :: seen == 0 -> skip
    :: else ->
        atomic {
            if
            :: !(whatever_it_likes) && !CLOSE_COUNTS && is_short_of_it -> seen = 0
            :: else -> rung_for = seen
            fi
        }
        atomic {
            if
            :: seen == 0 -> skip
            :: seen != 0 && may_store -> seen = 0; store(BELL, 0)
            fi
        }
    fi
}

inline announce() {
    atomic {
        may_store;
#ifdef SAME_NUMBER
        number = 1;
#elif defined(STAYS_RELAXED)
        number = (number & 254) + 5;
#else
        number = (number & 252) + 5;
#endif
#ifdef WAKE_AT_LAST
        store(SLEEP, number)
    }
    atomic {
        may_store;
        store(WAKE_AT, own + liked - lead)
    }
#else
        store(WAKE_AT, own + liked - lead)
    }
    atomic {
        may_store;
        store(SLEEP, number)
    }
#endif
#if FENCES == 2 && !defined(MAY_NOT_RELAX)
#ifdef LOOK_BEFORE_FENCE
    needs_barrier = unfenced[peer];
#endif
    atomic {
#ifndef NO_SLEEPER_FENCE
        is_fenced(me);
#endif
#ifndef LOOK_BEFORE_FENCE
        needs_barrier = unfenced[peer]
#endif
    }
#ifdef NO_MEMBARRIER
    needs_barrier = false
#else
    if
    :: atomic { needs_barrier && is_fenced(me) && is_fenced(peer) -> needs_barrier = false }
    :: !needs_barrier
    fi
#endif
#elif !defined(NO_SLEEPER_FENCE)
    is_fenced(me)
#endif
}

inline withdraw() {
    atomic {
        may_store;
#ifdef SAME_NUMBER
        number = 0;
#else
        number = number & 254;
#endif
        store(SLEEP, number)
    }
}

inline close() {
    atomic { may_store -> has_closed = true; store(CLOSED, 1) }
}

// ---- The loop around it.

// First how the peer has ended, then what it had published.
inline look() {
#if defined(CLOSED_AFTER_RING)
    peer_dead = dead[peer];
    d_step { refresh() }
    peer_closed = closed[peer]
#elif defined(DEATH_AFTER_RING)
    peer_closed = closed[peer];
    d_step { refresh() }
    peer_dead = dead[peer]
#else
    peer_dead = dead[peer];
    peer_closed = closed[peer];
    d_step { refresh() }
#endif
}

#define may_go_on (room > 0 && !(me == P && own == MESSAGES))

inline sleep_until_rung() {
    // A consumer needs no more than one unit; a producer of long records may need all of them.
    if
    :: atomic { true -> needed = 1; liked = 1 }
    :: atomic { true -> needed = 1; liked = (me == P -> PRODUCER_LIKES : CONSUMER_LIKES) }
#ifdef NEEDS_WHAT_IT_LIKES
    :: atomic { true -> liked = CAPACITY; needed = liked }
#else
    :: atomic { me == P -> needed = PRODUCER_LIKES; liked = needed }
#endif
    fi;
#ifndef NO_LAST_RING
    must_ring(true);
#endif
#ifdef READ_AFTER_DRAIN
    bell[me] = false;
#endif
    announce();
#ifndef NO_CLOSED_RECHECK
    peer_closed = closed[peer];
#endif
#ifndef NO_RECHECK
    d_step { refresh() }
#endif
#ifdef READ_AFTER_RECHECK
    bell[me] = false;
#endif
#ifdef PARTS
    do
    :: atomic { may_go_on -> own++ }
        publish();
        must_ring(false);
        d_step { refresh() }
    :: !may_go_on -> break
    od;
#endif
    if
    :: room < needed && !peer_closed && cancelled < CANCELLATIONS -> cancelled++
    :: room < needed && !peer_closed ->  // decided now: one that may still give up is no end
        do
#if defined(READ_AFTER_RECHECK) || defined(READ_AFTER_DRAIN)
        :: bell[me] -> break
#else
        :: atomic { bell[me] -> bell[me] = false } break
#endif
        :: dead[peer] -> break
#if TRIES > 0
        :: atomic { tried < TRIES && position[peer] != peer_position -> refresh() }
        :: atomic { tried < TRIES && may_go_on -> own++; tried++ }
            publish();
            must_ring(false)
#endif
        od
    :: else -> skip
    fi;
    needed = 0;
    liked = 0;
    peer_closed = false;
    withdraw()
}

// A side does its work while it has room, and asks how the peer has ended when it has none.
proctype side(byte me; byte peer; byte lead) {
    byte own;
    byte published;
    byte peer_position;
    byte number = NUMBER_AT_START;  // sleep_ there
    byte rung_for = RUNG_FOR_AT_START;
    byte fencing = FENCING_AT_START;
    bool has_closed;

    byte seen;
    bool has_changed;
    bool needs_barrier;
    byte needed;
    byte liked;
    byte cancelled;
    byte tried;
    bool peer_dead;
    bool peer_closed;
    {
        do
        :: atomic { me == P && own == MESSAGES -> break }
        :: atomic { !(me == P && own == MESSAGES) && room > 0 -> own++ }
            if
            :: publish(); must_ring(false)
            :: true  // later, with others
            fi
#if FENCES == 2 && !defined(MAY_NOT_RELAX)
        :: atomic {  // relax
               (RELAXERS & (1 << me)) && number % 4 == 0 && may_store ->
               number = number + 2;
               store(SLEEP, number)
           }
#endif
        :: atomic { !(me == P && own == MESSAGES) && room == 0 -> skip }
            look();
            if
            :: atomic { room > 0 -> peer_dead = false; peer_closed = false }
            :: atomic {
                   room == 0 && (peer_dead || peer_closed) ->
                   assert(me == P || own == position[P])
               }
               break
            :: room == 0 && !peer_dead && !peer_closed ->
#ifndef SLEEP_UNPUBLISHED
                if
                :: published != own -> publish(); must_ring(false)
                :: else -> skip
                fi;
#endif
                if
                :: me == C -> break
                :: sleep_until_rung()
                fi
            fi
        od;
        if
        :: published != own -> publish()
        :: else -> skip
        fi;
#ifdef QUIET
        must_ring(false);
        me == C || position[C] == MESSAGES || closed[C];
#endif
        close();
#ifndef CLOSE_WITHOUT_RING
        must_ring(false)
#endif
    } unless {
        killed[me];
        atomic { is_fenced(me) -> dead[me] = true }
    }
    // Nothing of it matters any more, so states that differ in it only are one.
    d_step {
        own = 0;
        published = 0;
        peer_position = 0;
        number = 0;
        rung_for = 0;
        fencing = 0;
        has_closed = 0;
        seen = 0;
        has_changed = 0;
        needs_barrier = 0;
        needed = 0;
        liked = 0;
        cancelled = 0;
        tried = 0;
        peer_dead = 0;
        peer_closed = 0
    }
}

init {
    atomic {
        run side(P, C, CAPACITY);
        run side(C, P, 0)
    }
}
