from .dvae.model import DynamicVAE as DynamicVAE
from .dvae.model import load_dvae as load_dvae
from .transformer.content import SIZES as SIZES
from .transformer.content import DynamicContentTransformer as DynamicContentTransformer
from .transformer.content import load_content as load_content
from .transformer.grain import DynamicGrainTransformer as DynamicGrainTransformer
from .transformer.grain import load_grain as load_grain
