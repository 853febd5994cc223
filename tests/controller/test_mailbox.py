"""The mailbox: in order, nothing lost, and a wait that ends."""

from __future__ import annotations

import asyncio

from controller.mailbox import Mailbox


def test_letters_come_out_as_they_went_in():
    box = Mailbox[int]()
    for letter in range(3):
        box.put(letter)
    assert [box.take() for _ in range(3)] == [0, 1, 2] and not box


def test_who_waits_is_woken_by_a_letter_and_not_before():
    async def scene() -> list[str]:
        box, said = Mailbox[str](), list[str]()

        async def read() -> None:
            assert await box.arrival()
            said.append(box.take())

        reader = asyncio.create_task(read())
        await asyncio.sleep(0.01)
        assert not said
        box.put("report")
        await reader
        return said

    assert asyncio.run(scene()) == ["report"]


def test_a_wait_for_nothing_ends_in_its_time_and_the_next_letter_is_still_read():
    async def scene() -> None:
        box = Mailbox[int]()
        assert not await box.arrival(0.01)
        box.put(1)
        assert await box.arrival(0.01) and box.take() == 1

    asyncio.run(scene())


def test_a_wait_that_was_given_up_leaves_the_mailbox_whole():
    async def scene() -> None:
        box = Mailbox[int]()
        reader = asyncio.create_task(box.arrival())
        await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        box.put(1)
        assert await box.arrival() and box.take() == 1

    asyncio.run(scene())
