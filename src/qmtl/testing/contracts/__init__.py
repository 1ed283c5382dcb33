"""What each port promises, as test classes: subclass one, give it a fixture ``part``, and pytest checks your backend.

The fixture opens an empty backend, yields it and closes it; the tests are coroutines, run by anyio's plugin::

    class TestMyBroker(BrokerContract):
        pytestmark = pytest.mark.anyio

        @pytest.fixture
        async def part(self): ...
"""
