from shared.language.batches import batches


def test_in_order_and_the_last_one_smaller() -> None:
    assert list(batches(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batches((letter for letter in "abcd"), 2)) == [["a", "b"], ["c", "d"]]
    assert list(batches([], 2)) == []
