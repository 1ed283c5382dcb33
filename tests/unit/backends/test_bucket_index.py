from hypothesis import given
from hypothesis import strategies as st

from qmtl.backends.bucket_index import BucketIndex

CAPACITY = 8
BUCKETS = st.lists(st.none() | st.integers(0, 300), max_size=400) | st.lists(st.integers(0, 10**6), unique=True).map(
    sorted
)


@given(BUCKETS, st.integers(-5, 310))
def test_no_record_of_the_bucket_or_a_later_one_is_in_front(buckets, wanted):
    index = BucketIndex(CAPACITY)
    for position, bucket in enumerate(buckets):
        index.add(position, position, bucket)
    first = next((k for k, one in enumerate(buckets) if one is not None and one >= wanted), len(buckets))
    assert index.before(wanted) <= first
    assert index.reaches(wanted) == (first < len(buckets))
    if first == len(buckets):
        assert index.before(wanted) == first


def test_what_lies_between_is_a_small_part():
    index = BucketIndex(CAPACITY)
    for position in range(1000):
        index.add(position, position, 60 * position)
    slack = [position - index.before(60 * position) for position in range(1000)]
    assert max(slack) <= 2 * 1000 / CAPACITY
    assert min(slack) >= 0


def test_what_does_not_continue_is_passed_over():
    index = BucketIndex()
    index.add(0, 3, 60)  # the ones before are gone from the topic
    index.add(10, 10, 600)
    index.add(2, 2, 30)
    assert (index.end, index.before(61), index.before(60)) == (4, 4, 0)
