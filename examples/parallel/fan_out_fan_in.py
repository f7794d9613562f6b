"""Fan-out / fan-in: split sales by region, work on the regions side by side, add them up.

The three branches are one function: `bind` fixes its region and gives each copy an id of its own.
"""

import asyncio
from decimal import Decimal

from pydantic import BaseModel

from gorkflow import Workflow, run, step

SECOND = 0.05  # of the work that is simulated


class Sale(BaseModel):
    region: str
    product: str
    amount: Decimal


class RegionTotal(BaseModel):
    region: str
    sales: int
    amount: Decimal
    best_product: str | None


class Summary(BaseModel):
    regions: list[RegionTotal]
    amount: Decimal


@step
async def prepare_data(sales: list[Sale]) -> list[Sale]:
    return [sale for sale in sales if sale.amount > 0]


@step
async def process_region(sales: list[Sale], region: str = "?") -> RegionTotal:
    await asyncio.sleep(SECOND)
    own = [sale for sale in sales if sale.region == region]
    products: dict[str, Decimal] = {}
    for sale in own:
        products[sale.product] = products.get(sale.product, Decimal()) + sale.amount
    return RegionTotal(
        region=region,
        sales=len(own),
        amount=sum(products.values(), Decimal()),
        best_product=max(products, key=lambda name: (products[name], name), default=None),
    )


@step
async def aggregate_results(a: RegionTotal, b: RegionTotal, c: RegionTotal) -> Summary:
    regions = [a, b, c]
    return Summary(regions=regions, amount=sum((it.amount for it in regions), Decimal()))


fan_out_in = (
    Workflow("fan-out-in", input=list[Sale], name="Fan Out/In")
    .then(prepare_data)
    .parallel(
        process_region.bind("europe", region="Europe"),
        process_region.bind("asia", region="Asia"),
        process_region.bind("africa", region="Africa"),
    )
    .then(aggregate_results)
)

SALES = [
    Sale(region="Europe", product="tea", amount=Decimal("12.50")),
    Sale(region="Asia", product="tea", amount=Decimal("40.00")),
    Sale(region="Europe", product="cups", amount=Decimal("30.10")),
    Sale(region="Asia", product="cups", amount=Decimal("-3.00")),  # a return
    Sale(region="Europe", product="tea", amount=Decimal("7.40")),
]

if __name__ == "__main__":
    summary = run(fan_out_in, SALES, store="memory:")
    for total in summary.regions:
        print(f"{total.region:8}{total.sales:3}{total.amount:8}  best: {total.best_product or '-'}")
    print(f"all: {summary.amount}")
